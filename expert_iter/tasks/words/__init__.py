"""Questions in words: files, prompts, and answers read by their text."""
