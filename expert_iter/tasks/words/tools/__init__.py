"""Tools for problems in words: worlds that answer where the network asks, and forbid little.

A tool sees the prompt and the text alone. `task.tools` names it.
"""

from expert_iter.tasks.words.tools.calculator import Calculator

NONE, CALCULATOR = "none", "calculator"
TOOLS = (NONE, CALCULATOR)


def make_tool(name: str) -> Calculator | None:
    """The tool of this name, one of `TOOLS`."""
    return Calculator() if name == CALCULATOR else None
