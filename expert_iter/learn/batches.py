"""Batches for updates: random trees from replay, with some of the warm start mixed in."""

import math
from collections.abc import Callable

import numpy as np

from expert_iter.learn.packing import Batch, Packer
from expert_iter.learn.replay import Replay
from expert_iter.learn.room import Room
from expert_iter.learn.splitting import split
from expert_iter.learn.step_tree import StepTree
from expert_iter.learn.warm_start import WarmStart
from expert_iter.pod import collectives, processes
from expert_iter.pod.mesh import Layout, held_rows, put

# Share of a batch's tokens to fill: with more, the trees that find no room are no random choice.
FILL = 0.92
# Tokens of the batches whose trees the processes tell each other at once. A word between them waits
# for the update under way, so that the next batch cannot be made meanwhile: it should be seldom.
_TOLD_AT_ONCE = 1 << 15


class Batches:
    """The batches of a phase of `updates`, whatever their order; replay stays as it is meanwhile.

    rehearsal: the share of a batch's tokens that is warm-start plays (all of it where there are no
    trees). rng: host randomness of an update. All processes make the same batches in the same
    order: every one brings the trees that it has, and packs the rows of its own devices.
    """

    def __init__(
        self,
        packer: Packer,
        layout: Layout,
        replay: Replay,
        plays: WarmStart,
        rehearsal: float,
        updates: int,
        rng: Callable[[int], np.random.Generator],
    ):
        self._packer, self._layout, self._replay, self._plays = packer, layout, replay, plays
        self._rehearsal, self._updates, self._rng = rehearsal, updates, rng
        self._told: dict[int, list[StepTree]] = {}  # by update, till it is made

    def make(self, update: int) -> Batch:
        """Packs an update's trees; returns the batch, on the devices."""
        if update not in self._told:
            self._tell(update)
        # Large trees first: what is small finds room between them.
        trees = sorted(self._told.pop(update), key=lambda tree: -tree.size)
        rows = set(held_rows(self._layout.rows, self._packer.rows).tolist())
        batch, _ = self._packer.pack(trees, held=rows)
        return put(batch, self._layout.rows)

    def _tell(self, update: int) -> None:
        """Draws the trees of this update, and of some after it where processes must tell each
        other.
        """
        size, ahead = self._packer.rows * self._packer.row_tokens, 1
        if processes.count() > 1:
            ahead = min(self._updates - update, max(1, _TOLD_AT_ONCE // size))
        drawn = {later: self._draw(later) for later in range(update, update + ahead)}
        own = {(later, i): tree for later, trees in drawn.items() for i, tree in trees.items()}
        self._told = {later: [] for later in drawn}
        room = Room(self._packer.row_tokens, self._packer.row_steps)
        for (later, _), tree in collectives.gather_dicts(own).items():
            # Trees of the replay are larger than a row where rows were larger when it was filled.
            self._told[later] += split(tree, room, self._packer.columns)

    def _draw(self, update: int) -> dict[int, StepTree]:
        """Those of an update's trees that this process has, by their place: trees of the replay,
        then plays.
        """
        rng, replay = self._rng(update), self._replay
        share = self._rehearsal if len(replay) else 1.0
        tokens = FILL * self._packer.rows * self._packer.row_tokens
        order = rng.permutation(len(replay))
        enough = np.cumsum(replay.tokens[order]) - replay.tokens[order]
        chosen = order[enough < (1 - share) * tokens]
        wanted = math.ceil(share * tokens / self._plays.mean_size) if share else 0
        plays = {len(chosen) + i: play for i, play in self._plays.draw(wanted, rng).items()}
        return replay.own(chosen.tolist()) | plays
