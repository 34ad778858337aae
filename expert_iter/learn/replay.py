"""Replay: what past rounds found, in a window that grows more slowly than the data (KataGo, Wu
2019, appendix C).

Every process knows how many trees there are and how large each is; the trees themselves it has only
of the problems that it searched.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from expert_iter.errors import UserError
from expert_iter.learn.step_tree import StepTree, flat, parted
from expert_iter.pod import processes


@dataclasses.dataclass(frozen=True)
class ReplayConfig:
    """The window holds min_trees · (1 + growth · ((total / min_trees)^exponent − 1) / exponent) of
    the newest trees, once there are more than min_trees of them; never more than max_trees.
    """

    min_trees: int = 4096
    growth: float = 0.4
    exponent: float = 0.75
    max_trees: int = 200_000

    def __post_init__(self):
        if not 1 <= self.min_trees <= self.max_trees:
            raise UserError(
                "replay.min_trees must be between 1 and replay.max_trees, got "
                f"{self.min_trees} and {self.max_trees}"
            )
        if self.growth < 0 or not 0 < self.exponent <= 1:
            raise UserError(
                "replay.growth must not be negative and replay.exponent must be in (0, 1], got "
                f"{self.growth} and {self.exponent}"
            )


class Replay:
    """The newest step trees, numbered in the order in which they were added. `total` counts all
    that ever were; `tokens[i]` is the size of the i-th of the window, oldest first.
    """

    def __init__(self, config: ReplayConfig):
        self.config, self.total = config, 0
        self.tokens = np.zeros(0, np.int64)
        self._own: dict[int, StepTree] = {}  # by number

    def __len__(self) -> int:
        return len(self.tokens)

    def window(self) -> int:
        c = self.config
        if self.total <= c.min_trees:
            return c.min_trees
        grown = c.min_trees * (
            1 + c.growth * ((self.total / c.min_trees) ** c.exponent - 1) / c.exponent
        )
        return min(int(grown), c.max_trees)

    def add(self, lessons: Mapping[int, Sequence[StepTree]]) -> None:
        """Adds what this process's problems teach, by their number in the batch; all processes add
        at once, and all come to know what is there.
        """
        sizes = processes.gather_dicts({row: [t.size for t in trees] for row, trees in lessons.items()})
        for row, of_row in sizes.items():
            self._own |= dict(enumerate(lessons.get(row, ()), start=self.total))
            self.total += len(of_row)
        new = [size for of_row in sizes.values() for size in of_row]
        self.tokens = np.concatenate([self.tokens, np.array(new, np.int64)])[-self.window() :]
        self._forget()

    def own(self, chosen: Sequence[int]) -> dict[int, StepTree]:
        """Those of the window's trees numbered in `chosen` that this process has, by their place in
        `chosen`.
        """
        first = self.total - len(self.tokens)
        found = ((place, self._own.get(first + i)) for place, i in enumerate(chosen))
        return {place: tree for place, tree in found if tree is not None}

    def arrays(self) -> dict[str, np.ndarray]:
        """This process's share as a few flat arrays, for a checkpoint."""
        numbers = np.array(list(self._own), np.int64)
        window = {"total": np.array(self.total), "window": np.array(len(self.tokens))}
        return {**window, "number": numbers, **flat(list(self._own.values()))}

    @classmethod
    def from_arrays(
        cls, config: ReplayConfig, shares: Iterable[Mapping[str, np.ndarray]]
    ) -> "Replay":
        """From the shares of all processes that saved, dealt anew among those there are now."""
        replay = cls(config)
        for share in shares:
            if not len(replay.tokens):
                replay.total = int(share["total"])
                replay.tokens = np.zeros(int(share["window"]), np.int64)
            first = replay.total - len(replay.tokens)
            replay.tokens[share["number"] - first] = share["tokens"]
            for number, tree in zip(share["number"].tolist(), parted(share), strict=True):
                if number % processes.count() == processes.index():
                    replay._own[number] = tree
        return replay

    def _forget(self) -> None:
        oldest = self.total - len(self.tokens)
        self._own = {number: tree for number, tree in self._own.items() if number >= oldest}
