"""Replay: what past rounds found, in a window that grows more slowly than the data (KataGo, Wu
2019, appendix C).

Every process knows how large each tree is and which search it comes from; the trees themselves it
has only of the problems that it searched.
"""

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from expert_iter.errors import UserError
from expert_iter.learn.step_tree import Origin, StepTree, flat, parted
from expert_iter.pod import collectives, processes
from expert_iter.range_checks import Checks
from expert_iter.renamed import translated_trees


@dataclasses.dataclass(frozen=True)
class ReplayConfig:
    """The window of newest trees that is learned from.

    It holds min_trees · (1 + growth · ((total / min_trees)^exponent − 1) / exponent) trees once
    there are more than min_trees.

    Attributes:
      min_trees: the window's first size.
      growth: how fast it grows at first.
      exponent: of its growth with the number of trees so far, in (0, 1].
      max_trees: the window's largest size.
      reanalyse: share of a round's problems that are drawn from the window, each in proportion to
        how many updates its search lags behind, and searched again; what that teaches replaces what
        it had.
    """

    min_trees: int = 4096
    growth: float = 0.4
    exponent: float = 0.75
    max_trees: int = 200_000
    reanalyse: float = 0.0

    def __post_init__(self):
        if not 1 <= self.min_trees <= self.max_trees:
            raise UserError(
                "replay.min_trees must be between 1 and replay.max_trees, got "
                f"{self.min_trees} and {self.max_trees}"
            )
        check = Checks("replay", self)
        check.not_negative("growth")
        check.positive("exponent")
        check.share("exponent", "reanalyse")


class Replay:
    """The newest step trees, numbered in the order in which they were added.

    Attributes:
      total: how many ever were added.
      tokens: [W] int64. The size of each tree of the window, oldest first.
      origins: W origins. Which search each comes from.
    """

    def __init__(self, config: ReplayConfig):
        self.config, self.total = config, 0
        self._own: dict[int, StepTree] = {}  # by number
        self._set_window({})

    def _set_window(self, window: dict[int, tuple[int, Origin]]) -> None:
        """window: size and origin of each tree in it, by number, oldest first."""
        self._window = window
        self.tokens = np.array([size for size, _ in window.values()], np.int64)
        self.origins = [origin for _, origin in window.values()]
        self._own = {number: tree for number, tree in self._own.items() if number in window}

    def __len__(self) -> int:
        return len(self._window)

    def window(self) -> int:
        c = self.config
        if self.total <= c.min_trees:
            return c.min_trees
        grown = c.min_trees * (
            1 + c.growth * ((self.total / c.min_trees) ** c.exponent - 1) / c.exponent
        )
        return min(int(grown), c.max_trees)

    def add(
        self, lessons: Mapping[int, Sequence[StepTree]], replaced: Collection[str] = ()
    ) -> None:
        """Adds what this process's problems teach, by their number in the batch; all processes add
        at once, and all come to know what is there.

        Args:
          lessons: the trees of each problem.
          replaced: ids of problems whose trees in the window are removed first.
        """
        known = {row: [(t.size, t.origin) for t in trees] for row, trees in lessons.items()}
        window = {n: entry for n, entry in self._window.items() if entry[1].problem not in replaced}
        for row, added in collectives.gather_dicts(known).items():
            self._own |= dict(enumerate(lessons.get(row, ()), start=self.total))
            window |= dict(enumerate(added, start=self.total))
            self.total += len(added)
        self._set_window(dict(list(window.items())[-self.window() :]))

    def own(self, chosen: Sequence[int]) -> dict[int, StepTree]:
        """Those of the window's trees numbered in `chosen` that this process has, by their place in
        `chosen`.
        """
        numbers = list(self._window)
        own = ((i, self._own.get(numbers[place])) for i, place in enumerate(chosen))
        return {i: tree for i, tree in own if tree}

    def arrays(self) -> dict[str, np.ndarray]:
        """This process's share as a few flat arrays, for a checkpoint."""
        numbers = np.array(list(self._own), np.int64)
        return {"total": np.array(self.total), "number": numbers, **flat(list(self._own.values()))}

    @classmethod
    def from_arrays(
        cls, config: ReplayConfig, shares: Iterable[Mapping[str, np.ndarray]]
    ) -> "Replay":
        """From the shares of all processes that saved, sharded anew among those there are now."""
        replay, window = cls(config), {}
        for share in map(translated_trees, shares):
            replay.total = int(share["total"])
            for number, tree in zip(share["number"].tolist(), parted(share), strict=True):
                window[number] = tree.size, tree.origin
                if number % processes.count() == processes.index():
                    replay._own[number] = tree
        replay._set_window(dict(sorted(window.items())))
        return replay
