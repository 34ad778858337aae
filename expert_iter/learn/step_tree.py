"""The unit of learning: a tree of steps, with what is to be learned at each of them.

Node 0 is the prompt; every other node is one step (a line, end mark included) after its parent. A
demonstration is a tree without branches; guesses at one problem are a tree that forks at their
first difference; a searched tree is itself. Each distinct prefix is stored, and later computed,
once.
"""

import dataclasses
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from expert_iter.model.step_ends import StepEnds

IMITATED = "imitation.weight"  # the column of demonstrations
OBSERVED = "world.observed"  # how many of a step's last tokens a world wrote: they teach nothing
_COMBINE = {"sum": operator.add, "max": max, "last": lambda old, new: new}  # see `Column`


class Column(NamedTuple):
    """A value that an objective gives to steps; 0 means that it gives none.

    Attributes:
      name: "OBJECTIVE.WHAT".
      dtype: 'float32' or 'bool'.
      combine: of two values that one step is given: their 'sum', their 'max', or the 'last'.
      along: which steps of a candidate of several are given its value: 'each', the 'last', or none
        but where the candidate is one step ('alone'). 'steps': the last, times their number.
      family: siblings with this column stay in one row, or none of them teaches the objective.
    """

    name: str
    dtype: str = "float32"
    combine: str = "last"
    along: str = "each"
    family: bool = False

    @property
    def objective(self) -> str:
        return self.name.partition(".")[0]


class Origin(NamedTuple):
    """Where a step tree comes from.

    Attributes:
      problem: the problem's id; '' of demonstrations.
      round, unit: when it was searched; 0 of demonstrations.
      updates: how many updates the parameters that searched had seen.
    """

    problem: str = ""
    round: int = 0
    unit: int = 0
    updates: int = 0


NOWHERE = Origin()


@dataclasses.dataclass(frozen=True)
class StepTree:
    """G steps of T tokens together.

    Attributes:
      token: [T] int32. The steps' tokens one after the other, parents before children.
      length: [G] int32. Tokens of each step.
      parent: [G] int32. −1 for the prompt.
      columns: [G] each, by name. What objectives learn; a column that is not there is 0.
      origin: which search it comes from.
    """

    token: np.ndarray
    length: np.ndarray
    parent: np.ndarray
    columns: Mapping[str, np.ndarray]
    origin: Origin = NOWHERE

    @property
    def size(self) -> int:
        return len(self.token)

    @property
    def teaching(self) -> np.ndarray:
        """[G] bool. The step has something to learn."""
        lessons = [column for name, column in self.columns.items() if name != OBSERVED]
        return np.any([column != 0 for column in lessons], axis=0)

    def with_columns(self, change: Mapping[str, np.ndarray]) -> "StepTree":
        return dataclasses.replace(self, columns={**self.columns, **change})

    @property
    def teaches(self) -> bool:
        """Whether there is anything to be learned from it."""
        return bool(self.teaching.any())


def flat(trees: Sequence[StepTree]) -> dict[str, np.ndarray]:
    """Trees as a few arrays, to be stored or sent; `parted` is the inverse."""
    dtypes = {name: array.dtype for tree in trees for name, array in tree.columns.items()}
    join = lambda parts, dtype: np.concatenate([np.zeros(0, dtype), *parts])  # noqa: E731
    return {
        "tokens": np.array([tree.size for tree in trees], np.int32),
        "steps": np.array([len(tree.length) for tree in trees], np.int32),
        **{
            name: join([getattr(tree, name) for tree in trees], np.int32)
            for name in ("token", "length", "parent")
        },
        **{
            f"column.{name}": join(
                [tree.columns.get(name, np.zeros(len(tree.length), dtype)) for tree in trees], dtype
            )
            for name, dtype in dtypes.items()
        },
        **{
            f"origin.{name}": np.array([getattr(tree.origin, name) for tree in trees], dtype)
            for name, dtype in (("problem", str), ("round", int), ("unit", int), ("updates", int))
        },
    }


def parted(arrays: Mapping[str, np.ndarray]) -> list[StepTree]:
    """The trees that `flat` made arrays of."""
    if not len(arrays["steps"]):
        return []
    at_token, at_step = np.cumsum(arrays["tokens"])[:-1], np.cumsum(arrays["steps"])[:-1]
    tokens = np.split(arrays["token"], at_token)
    lengths, parents = (np.split(arrays[name], at_step) for name in ("length", "parent"))
    columns = {
        name.removeprefix("column."): np.split(array, at_step)
        for name, array in arrays.items()
        if name.startswith("column.")
    }
    origins = zip(*(arrays[f"origin.{name}"].tolist() for name in Origin._fields), strict=True)
    return [
        StepTree(
            tokens[i],
            lengths[i],
            parents[i],
            {name: parts[i] for name, parts in columns.items()},
            Origin(*origin),
        )
        for i, origin in enumerate(origins)
    ]


class StepTreeBuilder:
    """Grows a `StepTree`; a step that its parent already has is not added twice."""

    def __init__(
        self,
        prompt: list[int],
        columns: Iterable[Column] = (Column(IMITATED), Column(OBSERVED)),
    ):
        self._columns = {column.name: column for column in columns}
        self._steps = [tuple(prompt)]
        self._parent = [-1]
        self._index: dict[tuple, int] = {}
        self._values: dict[str, dict[int, float]] = {name: {} for name in self._columns}

    def add(self, parent: int, step: tuple[int, ...]) -> int:
        key = (parent, step)
        if key not in self._index:
            self._index[key] = len(self._steps)
            self._steps.append(step)
            self._parent.append(parent)
        return self._index[key]

    def add_text(
        self,
        parent: int,
        tokens: Sequence[int],
        steps: StepEnds,
        observed: Sequence[bool] | None = None,
    ) -> list[int]:
        """Adds a text of several steps; returns their numbers. observed: which tokens a world
        wrote.
        """
        path, start = [], 0
        for step in steps.split(tokens, observed):
            parent = self.add(parent, step)
            path.append(parent)
            if observed is not None:
                self.give([parent], OBSERVED, sum(observed[start : start + len(step)]))
            start += len(step)
        return path

    def give(self, path: Sequence[int], name: str, value: float) -> None:
        """Gives a column's value to the steps of a text, as the column says; 0 gives none."""
        column = self._columns[name]
        if not value or (column.along == "alone" and len(path) > 1):
            return
        if column.along == "steps":
            value *= len(path)
        values, combine = self._values[name], _COMBINE[column.combine]
        for step in path if column.along == "each" else path[-1:]:
            values[step] = combine(values[step], value) if step in values else value

    def build(self, origin: Origin = NOWHERE) -> StepTree:
        columns = {}
        for name, column in self._columns.items():
            if name == OBSERVED and not self._values[name]:
                continue  # there is no world
            columns[name] = np.zeros(len(self._steps), column.dtype)
            for step, value in self._values[name].items():
                columns[name][step] = value
        return StepTree(
            token=np.array([token for step in self._steps for token in step], np.int32),
            length=np.array([len(step) for step in self._steps], np.int32),
            parent=np.array(self._parent, np.int32),
            columns=columns,
            origin=origin,
        )
