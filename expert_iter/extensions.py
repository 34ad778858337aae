"""Loads the user's modules in `config.imports`, which add experts, objectives and tasks.

Such a module adds entries to `search.experts.EXPERTS`, `learn.objectives.OBJECTIVES` or
`tasks.TASKS` when it is imported.
"""

import importlib
import os
import sys

from expert_iter.errors import UserError

_loaded: list[str] = []


def load(names: str) -> None:
    """Imports modules from Python's path and the current directory.

    Args:
      names: the modules' names, separated by commas.

    Raises:
      UserError: there is no such module, or its import fails.
    """
    for name in filter(None, (name.strip() for name in names.split(","))):
        if name in _loaded:
            continue
        if os.getcwd() not in sys.path:  # not on the path of installed commands
            sys.path.append(os.getcwd())
        try:
            importlib.import_module(name)
        except Exception as error:
            raise UserError(_reason(name, error)) from error
        _loaded.append(name)


def loaded() -> str:
    """The names of the loaded modules, for `load` in another process."""
    return ",".join(_loaded)


def _reason(name: str, error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name == name.partition(".")[0]:
        return (
            f"config.imports={name}: there is no module {name}; run from the directory of "
            f"{name.partition('.')[0]}.py, or add that directory to PYTHONPATH"
        )
    return f"config.imports={name}: the module fails: {type(error).__name__}: {error}"
