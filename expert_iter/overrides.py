"""Settings from the command line: `--config=FILE` and `--config.KEY=VALUE`.

`ml_collections.config_flags` parses them. This file adds errors in one line, with suggestions.
"""

import difflib
import os
import re
import runpy
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from expert_iter import renamed
from expert_iter.errors import UserError

_KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
    tuple: "values separated by commas",
}


def load_config(spec: str) -> ConfigDict:
    """Calls `get_config()` of the Python file `spec`, or `get_config(arg)` for `file.py:arg`.

    Raises:
      UserError: there is no such file, or it raises; the message gives the line.
    """
    path, _, argument = spec.partition(":")
    if not os.path.isfile(path):
        siblings = map(str, Path(path).parent.glob("*.py"))
        raise UserError(f"--config: there is no file '{path}'{did_you_mean(path, siblings)}")
    try:
        get_config = runpy.run_path(path, run_name="config").get("get_config")
        if get_config is None:
            raise UserError(f"--config: {path} defines no get_config()")
        config = get_config(*([argument] if argument else []))
    except UserError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == path]
        if isinstance(error, SyntaxError) and error.filename == path:
            lines.append(error.lineno)
        where = f", line {lines[-1]}" if lines else ""
        if (name := getattr(error, "name", None)) in renamed.SETTINGS:
            raise UserError(f"--config: {path}{where}: {renamed.hint(name)}") from error
        raise UserError(f"--config: {path}{where}: {type(error).__name__}: {error}") from error
    if not isinstance(config, ConfigDict | dict):
        raise UserError(f"--config: get_config() of {path} returns no ConfigDict")
    return ConfigDict(config)


def override(config: ConfigDict, argv: list[str]) -> list[str]:
    """Applies every `--config.KEY=VALUE` in `argv` to `config`.

    Args:
      config: changed in place; lists in it become tuples.
      argv: a command line, the program's name first.

    Returns:
      The rest of `argv`, with the program's name.

    Raises:
      UserError: there is no such key (the message suggests similar ones), or the value has the
        wrong type.
    """
    _lists_to_tuples(config)
    old = {}
    for argument in argv[1:]:
        if match := re.match(r"--?(?:no)?config\.([^=]+)", argument):
            old[match[1]] = _find(config, match[1])

    values = flags.FlagValues()
    values.set_gnu_getopt(True)  # flags may follow other arguments
    try:
        config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=argv)
        rest = values(argv, known_only=True)
    except flags.IllegalFlagValueError as error:
        key, given = re.match(r"flag --config\.([^=]+)=(.*?): ", str(error)).groups()
        raise UserError(_wrong_type(key, old[key], given)) from None
    except flags.Error as error:
        raise UserError(str(error)) from None

    for key, value in old.items():
        # ml_collections keeps a tuple a tuple, but does not check the types of its elements.
        kinds = {type(element) for element in value} if isinstance(value, tuple) else set()
        if len(kinds) != 1:
            continue
        new = _find(config, key)
        allowed = kinds | {int} if kinds == {float} else kinds
        if not {type(element) for element in new} <= allowed:
            raise UserError(_wrong_type(key, value, _text(new)))
        if kinds == {str}:  # nor does it split strings that have no quotes
            parts = (part.strip() for part in ",".join(new).split(","))
            config.update_from_flattened_dict({key: tuple(filter(None, parts))})
    return rest


def leaves(config: ConfigDict, prefix: str = "") -> list[str]:
    """The dotted keys of all values."""
    keys = []
    for name, value in config.items():
        key = f"{prefix}.{name}" if prefix else name
        keys += leaves(value, key) if isinstance(value, ConfigDict) else [key]
    return keys


def did_you_mean(word: str, known: Iterable[str], prefix: str = "", cutoff: float = 0.6) -> str:
    """`; did you mean 'a' or 'b'?` with the `known` words similar to `word`; '' without any."""
    near = difflib.get_close_matches(word, list(known), n=3, cutoff=cutoff)
    quoted = [f"'{prefix}{name}'" for name in near]
    return f"; did you mean {' or '.join(quoted)}?" if near else ""


def _find(config: ConfigDict, key: str) -> Any:
    """The value of a dotted key."""
    node, path = config, key.split(".")
    for depth, name in enumerate(path):
        above = ".".join(path[:depth])
        if not isinstance(node, ConfigDict):
            raise UserError(f"config key '{above}' is a single value: it has no '{name}'")
        if name not in node:
            if key in renamed.SETTINGS:
                raise UserError(renamed.hint(key))
            prefix = f"{above}." if above else ""
            hint = did_you_mean(name, node, prefix)
            if not hint:  # the name may exist in another section
                elsewhere = [other for other in leaves(config) if other.split(".")[-1] == path[-1]]
                hint = did_you_mean(key, elsewhere, cutoff=0)
            hint = hint or f"; keys: {', '.join(node)}"
            raise UserError(f"config has no key '{prefix}{name}'{hint}")
        node = node[name]
    if isinstance(node, ConfigDict):
        raise UserError(f"config key '{key}' is a section; change a key in it: {', '.join(node)}")
    return node


def _wrong_type(key: str, old: Any, given: str) -> str:
    kind = _KINDS.get(type(old), type(old).__name__)
    return f"config key '{key}' takes {kind} (now {_text(old)}), not '{given}'"


def _text(value: Any) -> str:
    """A value as a user would type it."""
    if isinstance(value, tuple):
        return ",".join(map(_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _lists_to_tuples(config: ConfigDict) -> None:
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            _lists_to_tuples(value)
        elif isinstance(value, list):
            with config.unlocked():
                del config[name]  # else ml_collections would convert the tuple back to a list
                config[name] = tuple(value)
