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
from collections.abc import Mapping
from importlib import resources
from string import Template

import numpy as np

from expert_iter.measure.tables import ORACLES, label

# What makes a part that is not there; `page` takes more of them.
COMMANDS = {
    part: "python -m expert_iter.train --config=configs/countdown.py --workdir=runs/countdown"
    for part in ("rounds", "finals")
}


def page(data: Mapping, commands: Mapping[str, str] | None = None) -> str:
    """The whole page as text, to be written as UTF-8.

    Args:
      data: what the page shows. All but the title may be empty or None.
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
      ValueError: a value that JSON cannot hold.
    """
    data = _plain(data, "data")
    content = {
        "data": data,
        "labels": _labels(data),
        "oracles": sorted(ORACLES),
        "commands": {**COMMANDS, **(commands or {})},
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
        return {key: _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    raise ValueError(f"{where}: cannot be shown: {type(value).__name__}")
