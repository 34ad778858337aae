"""Writes docs/settings.md, a reference of every setting, from the dataclasses of the sections.

    python docs/settings.py

A setting's description is its entry under `Attributes:` in the docstring of its dataclass.
"""

import dataclasses
import inspect
import re
from pathlib import Path

from expert_iter.config import sections
from expert_iter.learn.objectives import OBJECTIVES
from expert_iter.tasks import TASKS

PAGE = Path(__file__).resolve().with_name("settings.md")
PREAMBLE = """# Settings

<!-- Written by `python docs/settings.py` from the docstrings of the settings. Edit those. -->

Change a setting by `--config.SECTION.KEY=VALUE`, or in a config file (see `configs/`). The table
shows the defaults; a config file may set others. A mistyped key or an impossible value ends in one
line that says what to do.

`--config.imports=MODULE` names modules of your own that add experts, objectives or tasks; commas
go between several. `--config.task.name=TASK` names the task.
"""


def page() -> str:
    """The Markdown of all sections: those of a run, of the objectives, and of the tasks."""
    of_run = {name: config for name, config in sections().items() if name not in OBJECTIVES}
    blocks = [PREAMBLE, *(section(f"`{name}`", config) for name, config in of_run.items())]
    blocks.append("# Objectives\n\n`learner.objectives` names those of a run.\n")
    blocks += [section(f"`{name}`", config) for name, (_, config) in OBJECTIVES.items()]
    blocks.append("# Tasks\n\nThe section `task` has the keys of the run's task.\n")
    for config, names in classes_of_tasks().items():
        listed = ", ".join(f"`{name}`" for name in names)
        blocks.append(section(f"`task`: {listed}", config, own_only=True))
    return "\n".join(blocks)


def classes_of_tasks() -> dict[type, list[str]]:
    """The dataclasses that define settings of tasks, shared ones first, each with its tasks."""
    found: dict[type, list[str]] = {}
    for name, (_, config) in TASKS.items():
        for cls in reversed(config.__mro__):
            if cls.__dict__.get("__annotations__"):
                found.setdefault(cls, []).append(name)
    return found


def section(title: str, config: type, own_only: bool = False) -> str:
    """A heading, what the docstring says first, and a table.

    own_only: leave out inherited settings.
    """
    rows = [
        f"| `{field.name}` | `{field.default!r}` | {_cell(described(config, field.name))} |"
        for field in dataclasses.fields(config)
        if not own_only or field.name in config.__annotations__
    ]
    table = ["| key | default | meaning |", "| :-- | :-- | :-- |", *rows]
    return "\n".join([f"## {title}", "", summary(config), "", *table, ""])


def summary(config: type) -> str:
    """What the docstring says before the settings."""
    return inspect.getdoc(config).partition("Attributes:")[0].strip()


def described(config: type, key: str) -> str:
    """The setting's description, by the nearest class that has one; '' if none has."""
    for cls in config.__mro__:
        doc = inspect.cleandoc(cls.__doc__ or "").partition("Attributes:")[2]
        for names, text in re.findall(r"^  (\w[\w, ]*): (.*(?:\n    .*)*)", doc, re.MULTILINE):
            if key in names.split(", "):
                return " ".join(text.split())
    return ""


def _cell(text: str) -> str:
    first = text[:1].upper() if text[:1].isascii() else text[:1]  # not of Greek letters
    return first + text[1:].replace("|", r"\|")


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"{PAGE.name} is written")
