"""The expert at play: it searches problems, and the verifier judges what it finishes.

A tree search wants verdicts while it goes on, for its leaves. Guess-and-check does not: its
solutions are judged while the next batch is being drawn.
"""

from collections.abc import Sequence
from concurrent.futures import Future
from typing import NamedTuple

import jax
import numpy as np

from expert_iter.search.judge import HostJudge
from expert_iter.search.player import Player
from expert_iter.search.tree import SearchTree
from expert_iter.tasks.pool import Verdicts
from expert_iter.tasks.task import Problem

Batch = tuple[Sequence[Problem], jax.Array]  # problems, and the key of their search


class SelfPlay:
    """Of an expert that was compiled with `judge`: its leaves are worth their verdicts."""

    def __init__(self, player: Player, judge: HostJudge, budget: int):
        self._player, self._judge, self._budget = player, judge, budget

    def search(self, params, batch: Batch, upcoming: Batch | None = None) -> SearchTree:
        """The trees of one batch, which know which of their finished candidates are right.

        upcoming: the batch that will be asked for next, if any (no use is made of it here).
        """
        problems, key = batch
        self._judge.problems = problems
        return self._player.play(params, _questions(problems), key, self._budget)


class GuessAndCheck:
    """Of an expert that needs no verdict while it draws: see `SelfPlay` for how it is used."""

    def __init__(self, player: Player, verdicts: Verdicts, budget: int):
        self._player, self._verdicts, self._budget = player, verdicts, budget
        self._ahead: _Drawn | None = None

    def search(self, params, batch: Batch, upcoming: Batch | None = None) -> SearchTree:
        drawn = self._ahead
        if drawn is None or not _same(drawn.batch, batch):
            drawn = self._draw(params, batch)
        # The verdicts on this batch are given in other processes meanwhile.
        self._ahead = None if upcoming is None else self._draw(params, upcoming)
        won = np.zeros_like(drawn.tree.finished)
        won[drawn.asked] = drawn.verdicts.result()
        worth = won.astype(drawn.tree.value.dtype)
        return drawn.tree._replace(won=won, value=worth, q=worth)

    def _draw(self, params, batch: Batch) -> "_Drawn":
        problems, key = batch
        tree = self._player.play(params, _questions(problems), key, self._budget)
        asked = np.nonzero(tree.finished & tree.valid)
        texts = [
            self._player.tokenizer.decode(tokens[:length].tolist())
            for tokens, length in zip(tree.token[asked], tree.length[asked], strict=True)
        ]
        verdicts = self._verdicts.submit([problems[b] for b in asked[0]], texts)
        return _Drawn(batch, tree, asked, verdicts)


class _Drawn(NamedTuple):
    """A batch whose verdicts are still being given; asked: which candidates they are about."""

    batch: Batch
    tree: SearchTree
    asked: tuple[np.ndarray, ...]
    verdicts: Future[list[bool]]


def _questions(problems: Sequence[Problem]):
    return [problem.question for problem in problems]


def _same(one: Batch, other: Batch) -> bool:
    keys = (jax.random.key_data(key) for _, key in (one, other))
    return one[0] == other[0] and np.array_equal(*keys)
