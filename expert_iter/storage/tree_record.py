"""A searched tree as one record of bytes, which NumPy alone reads.

A record is a line of JSON and the bytes of its arrays, one after the other. The line holds the
summary, the texts of the steps, and each array's name, dtype and shape.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from expert_iter.errors import UserError

VERSION = 1  # of this layout; readers refuse later ones
_STEPS = "steps."  # before the names of the arrays of `Steps`


class Summary(NamedTuple):
    """Which search a tree comes from, and what came of it.

    Attributes:
      problem: the problem's id.
      prompt: its text.
      expert: who searched.
      round, unit: when in the run.
      updates: how many updates the parameters that searched had seen.
      solved: a solution was found that the verifier calls right.
      nodes: how many prefixes were continued, the prompt included.
      best_value: in [0, 1]. The value head's highest estimate of a step.
    """

    problem: str
    prompt: str
    expert: str
    round: int
    unit: int
    updates: int
    solved: bool
    nodes: int
    best_value: float


class Steps(NamedTuple):
    """The S steps of a tree, parents before children.

    Attributes:
      text: S texts, end marks included.
      parent: [S] int32. The step that it continues; -1 where that is the prompt.
      prior: [S] float32 in [0, 1]. The search's prior among siblings.
      value: [S] float32 in [0, 1]. The value head's estimate.
      q: [S] float32 in [0, 1]. What the search came to take the step for.
      visits: [S] int32. Simulations that went through it.
      finished: [S] bool. The solution ends here.
      won: [S] bool. It ends here and the verifier calls it right.
    """

    text: list[str]
    parent: np.ndarray
    prior: np.ndarray
    value: np.ndarray
    q: np.ndarray
    visits: np.ndarray
    finished: np.ndarray
    won: np.ndarray


class TreeRecord(NamedTuple):
    """A searched tree of one problem.

    Attributes:
      summary: of it.
      steps: what its steps say, and what the search knows of them.
      arrays: all that the search left, by dotted names: the fields of `search.tree.SearchTree`.
    """

    summary: Summary
    steps: Steps
    arrays: Mapping[str, np.ndarray]


def flattened(record: NamedTuple) -> dict[str, np.ndarray]:
    """The arrays of nested NamedTuples by dotted names, such as `bill.generated`."""
    flat = {}
    for name, value in zip(record._fields, record, strict=True):
        if hasattr(value, "_fields"):
            flat |= {f"{name}.{inner}": array for inner, array in flattened(value).items()}
        elif value is not None:
            flat[name] = np.asarray(value)
    return flat


def to_bytes(record: TreeRecord) -> bytes:
    of_steps = record.steps._asdict()
    texts = of_steps.pop("text")
    arrays = {f"{_STEPS}{name}": array for name, array in of_steps.items()} | dict(record.arrays)
    head = {
        "version": VERSION,
        **record.summary._asdict(),
        "texts": texts,
        "arrays": [[name, x.dtype.str, x.shape] for name, x in arrays.items()],
    }
    return b"".join([json.dumps(head).encode(), b"\n", *(x.tobytes() for x in arrays.values())])


def from_bytes(data: bytes) -> TreeRecord:
    """The inverse of `to_bytes`; arrays cannot be written to. Raises UserError as `summary_of`."""
    head = _head(data)
    arrays, start = {}, data.index(b"\n") + 1
    for name, kind, shape in head["arrays"]:
        dtype, size = np.dtype(kind), math.prod(shape)
        arrays[name] = np.frombuffer(data, dtype, size, start).reshape(shape)
        start += size * dtype.itemsize
    own = {name: arrays.pop(_STEPS + name) for name in Steps._fields if name != "text"}
    return TreeRecord(_summary(head), Steps(text=head["texts"], **own), arrays)


def summary_of(data: bytes) -> Summary:
    """The summary of a record, its arrays left unread. Raises UserError for a later version."""
    return _summary(_head(data))


def _head(data: bytes) -> dict[str, Any]:
    head = json.loads(data[: data.index(b"\n")])
    if head["version"] > VERSION:
        raise UserError(
            f"a stored tree has version {head['version']}, and versions up to {VERSION} are known "
            "here; update expert_iter"
        )
    return head


def _summary(head: Mapping[str, Any]) -> Summary:
    return Summary(*(head[name] for name in Summary._fields))
