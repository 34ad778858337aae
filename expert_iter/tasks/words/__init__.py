"""Text tasks: questions in words from files, their prompts, and the verdicts on their answers."""
