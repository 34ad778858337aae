"""The report of a run as one HTML page: charts, tables and the search trees, to open in a browser.

The page is a single file that asks the network for nothing. It is put together from the three
templates beside this module. The data travel in it as JSON, in which `<`, `>` and `&` are escaped,
and the script puts every text into the document as text, never as markup. A content security policy
that names the hashes of this script and this style forbids the browser anything else.
"""

import base64
import hashlib
import html
import json
import math
import numbers
from collections.abc import Iterator, Mapping
from importlib import resources
from string import Template

import numpy as np

from expert_iter.measure.tables import COSTS, ORACLES, label

# What makes a part that is not there; `page` takes more of them.
COMMANDS = {
    part: "python -m expert_iter.train --config=configs/countdown.py --workdir=runs/countdown"
    for part in ("rounds", "finals")
}

_NUMBER, _TEXT, _FLAG, _LIST = "a number or None", "text", "True, False or None", "a list"
_INTERVAL = dict.fromkeys(("low", "high"), _NUMBER)
_SCORE = {"method": _TEXT, "budget": _NUMBER, "accuracy": _NUMBER, **_INTERVAL}
_COSTS = dict.fromkeys(COSTS, _NUMBER)
_COSTS_EACH = {key: kind for key, kind in _COSTS.items() if key != "seconds"}
_BIN = {**_INTERVAL, "count": _NUMBER, "mean": _NUMBER, "share": _NUMBER}
_NODE = {
    "text": _TEXT,
    "visits": _NUMBER,
    "prior": _NUMBER,
    "q": _NUMBER,
    "value": _NUMBER,
    "finished": _FLAG,
    "verdict": _FLAG,
    "chosen": _FLAG,
    "children": _LIST,
}
_ROWS = {  # what the rows of each part must hold
    "rounds": {"round": _NUMBER, **_SCORE},
    "finals": {"when": _TEXT, **_SCORE, "problems": _NUMBER},
    "comparison": {
        "expert": _TEXT,
        "readout": _TEXT,
        "unit": _TEXT,
        "budget": _NUMBER,
        "seeds": _NUMBER,
        "accuracy": _NUMBER,
        **_INTERVAL,
        **_COSTS_EACH,
        "problems": _NUMBER,
    },
    "paired": {
        "unit": _TEXT,
        "budget": _NUMBER,
        "method": _TEXT,
        "baseline": _TEXT,
        "difference": _NUMBER,
        **_INTERVAL,
    },
    "slopes": {"method": _TEXT, "unit": _TEXT, "slope": _NUMBER, **_INTERVAL},
    "calibration": {
        "position": _TEXT,
        **dict.fromkeys(("count", "base_rate", "ece", "brier", "auc"), _NUMBER),
        "bins": _LIST,
    },
    "samples": {
        "prompt": _TEXT,
        "text": _TEXT,
        "verdict": _FLAG,
        "value": _NUMBER,
        "log_pi": _NUMBER,
    },
    "trees": {
        "prompt": _TEXT,
        "answer": _TEXT,
        "verdict": _FLAG,
        "expert": _TEXT,
        "budget": _NUMBER,
        "root": "a tree",
    },
}
_OPTIONAL = {  # and what they may hold besides
    "rounds": {"when": _TEXT, "problems": _NUMBER, "correct": _TEXT, **_COSTS},
    "finals": {"correct": _TEXT, **_COSTS},
    "comparison": dict.fromkeys(
        ("seconds", "seconds_per_problem", "seed_low", "seed_high"), _NUMBER
    ),
    "slopes": {"doublings": _NUMBER},
}
_UNITS = ("tokens", "flops")


def page(data: Mapping, commands: Mapping[str, str] | None = None) -> str:
    """The whole page as text, to be written as UTF-8.

    Args:
      data: what the page shows. Every key must be there; all but the title may be empty or None.
        NaN and infinities are shown as missing. Shares and probabilities are in [0, 1]; `low` and
        `high` are the 95% interval of what stands beside them.

          title        text
          facts        [name, value] pairs: texts, numbers or None
          rounds       rows of `round` (0: the warm start), `method`, `budget`, `accuracy`, `low`,
                       `high`; the other keys of an evaluation row may be there
          finals       evaluation rows as in `measure.tables`
          comparison   rows of `expert`, `readout` ("oracle" stands apart), `unit` ("tokens" or
                       "flops"), `budget` in that unit, `seeds` (how many), `accuracy`, `low`,
                       `high`, `problems`, `tokens`, `prefill_tokens`, `flops`, means over seeds;
                       `seconds` for all problems or `seconds_per_problem`, and `seed_low` and
                       `seed_high` may be there: what `standings.aggregate` returns will do
          paired       rows of `unit`, `budget`, `method`, `baseline`, `difference` (of accuracies),
                       `low`, `high`
          slopes       rows of `method`, `unit` and what `standings.slope` returns: `slope`, `low`,
                       `high` (percentage points for each doubling of the cost), also `doublings`
          calibration  rows of `position` ("step 1", "final"), `count` (prefixes judged),
                       `base_rate`, `ece`, `brier`, `auc` and `bins`, each of `low`, `high`,
                       `count`, `mean` (value) and `share` (of them that came right)
          samples      solutions: `prompt`, `text`, `verdict`, `value`, `log_pi`
          trees        searches: `prompt`, `answer`, `verdict`, `expert`, `budget` (generated
                       tokens), `root`. A node is `text`, `visits`, `prior`, `q`, `value`,
                       `finished`, `verdict` (None: not judged), `chosen` and `children`.
      commands: for parts by name, the command that makes them, shown where a part is empty; beside
        COMMANDS. Empty parts without a command are left out.

    Raises:
      ValueError: a key is missing or unknown, or a value of the wrong kind; it says which.
    """
    data = _plain(data, "data")
    _check(data)
    commands = {**COMMANDS, **(commands or {})}
    if unknown := sorted(commands.keys() - _ROWS.keys()):
        raise ValueError(f"commands: unknown parts {', '.join(unknown)}")
    content = {
        "data": data,
        "labels": _labels(data),
        "oracles": sorted(ORACLES),
        "commands": commands,
    }
    style, script = _template("css"), _template("js")
    policy = f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}"
    return Template(_template("html")).substitute(
        title=_escaped(data["title"]),
        policy=f"{policy}; base-uri 'none'; form-action 'none'",
        style=style,
        script=script,
        data=_embedded(content),
    )


def _template(extension: str) -> str:
    return resources.files(__package__).joinpath(f"page.{extension}").read_text("utf-8")


def _hash(inline: str) -> str:
    """The source expression of a content security policy that allows this inline text."""
    digest = hashlib.sha256(inline.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _escaped(text: str) -> str:
    # As ASCII, since a lone surrogate could not be written as UTF-8.
    return html.escape(text).encode("ascii", "xmlcharrefreplace").decode()


def _embedded(content) -> str:
    """JSON that stays inert inside a script element: it cannot end it or open a comment."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def _labels(data: dict) -> list[list]:
    """[method, budget, name] of every evaluation row, named as in `tables`."""
    labels = {}
    for row in [*(data["rounds"] or []), *(data["finals"] or [])]:
        method, budget = row["method"], row["budget"]
        name = method.replace("_", " ") if budget is None else label(method, budget)
        labels[method, budget] = [method, budget, name]
    return list(labels.values())


def _plain(value, where: str):
    """`value` in the types of JSON: tuples as lists, NumPy scalars as numbers, NaN as None."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        if strange := [key for key in value if not isinstance(key, str)]:
            raise ValueError(f"{where}: keys must be text, got {strange[0]!r}")
        return {key: _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    raise ValueError(f"{where}: cannot be shown: {type(value).__name__}")


def _check(data) -> None:
    parts = dict.fromkeys(_ROWS, "a list or None")
    _check_keys(data, {"title": _TEXT, "facts": "a list or None", **parts}, {}, "data")
    for i, fact in enumerate(data["facts"] or []):
        is_pair = isinstance(fact, list) and len(fact) == 2 and isinstance(fact[0], str)
        if not is_pair or isinstance(fact[1], dict | list):
            raise ValueError(f"facts[{i}]: want a name and a text or number, got {fact!r}")
    for part, required in _ROWS.items():
        for i, row in enumerate(data[part] or []):
            where = f"{part}[{i}]"
            _check_keys(row, required, _OPTIONAL.get(part, {}), where)
            if row.get("unit", "tokens") not in _UNITS:
                raise ValueError(f"{where}.unit: want one of {_UNITS}, got {row['unit']!r}")
    for i, row in enumerate(data["calibration"] or []):
        for j, one in enumerate(row["bins"]):
            _check_keys(one, _BIN, {}, f"calibration[{i}].bins[{j}]")
    for i, row in enumerate(data["trees"] or []):
        for node, where in _nodes(row["root"], f"trees[{i}].root"):
            _check_keys(node, _NODE, {}, where)


def _nodes(root, where: str) -> Iterator[tuple[object, str]]:
    """Every node and its place; a node's children only after the caller has looked at it."""
    waiting = [(root, where)]
    while waiting:
        node, where = waiting.pop()
        yield node, where
        children = enumerate(node["children"])
        waiting.extend((child, f"{where}.children[{i}]") for i, child in children)


def _check_keys(row, required: dict[str, str], optional: dict[str, str], where: str) -> None:
    if not isinstance(row, dict):
        raise ValueError(f"{where}: want a mapping, got {type(row).__name__}")
    if missing := [key for key in required if key not in row]:
        raise ValueError(f"{where}: missing {', '.join(missing)}")
    kinds = {**optional, **required}
    if unknown := [key for key in row if key not in kinds]:
        raise ValueError(f"{where}: unknown {', '.join(unknown)}")
    for key, value in row.items():
        if not _is(kinds[key], value):
            raise ValueError(f"{where}.{key}: want {kinds[key]}, got {value!r:.60}")


def _is(kind: str, value) -> bool:
    if kind == _TEXT:
        return isinstance(value, str)
    if kind == _NUMBER:
        return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
    if kind == _FLAG:
        return value is None or isinstance(value, bool)
    if kind == "a tree":
        return isinstance(value, dict)
    return isinstance(value, list) or (value is None and kind != _LIST)
