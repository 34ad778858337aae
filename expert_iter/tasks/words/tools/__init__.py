"""Tools for problems in words: worlds that answer where the network asks, and forbid little.

A tool sees the prompt and the text alone. `task.tools` names it.
"""

from expert_iter.tasks.words.tools.calculator import Calculator
from expert_iter.tasks.words.tools.python import Python

NONE, CALCULATOR, PYTHON = "none", "calculator", "python"
TOOLS = (NONE, CALCULATOR, PYTHON)


def make_tool(name: str, most_characters: int) -> Calculator | Python | None:
    """The tool of this name, one of `TOOLS`. most_characters: see `Python`."""
    if name == PYTHON:
        return Python(most_characters)
    return Calculator() if name == CALCULATOR else None
