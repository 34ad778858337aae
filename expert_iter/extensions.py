"""Modules of a user's own, named by `config.imports`: they add experts, objectives and tasks.

Importing one is enough, for it assigns to the tables `search.experts.EXPERTS`,
`learn.objectives.OBJECTIVES` and `tasks.TASKS`.
"""

import importlib
import os
import sys

from expert_iter.errors import UserError

_loaded: list[str] = []


def load(names: str) -> None:
    """Imports modules, with commas between their names, from Python's path and from here.

    Raises:
      UserError: there is no such module, or it fails; the line says where.
    """
    for name in filter(None, (name.strip() for name in names.split(","))):
        if name in _loaded:
            continue
        if os.getcwd() not in sys.path:  # installed commands do not look there
            sys.path.append(os.getcwd())
        try:
            importlib.import_module(name)
        except Exception as error:
            raise UserError(_reason(name, error)) from error
        _loaded.append(name)


def loaded() -> str:
    """What other processes of the run have to load."""
    return ",".join(_loaded)


def _reason(name: str, error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name == name.partition(".")[0]:
        return (
            f"config.imports={name}: there is no module {name}; run from the directory that holds "
            f"{name.partition('.')[0]}.py, or add that directory to PYTHONPATH"
        )
    return f"config.imports={name}: the module fails: {type(error).__name__}: {error}"
