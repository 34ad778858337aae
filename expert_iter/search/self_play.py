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
from expert_iter.tasks.task import Problem
from expert_iter.tasks.verifier.pool import Verifier

Batch = tuple[Sequence[Problem], jax.Array]  # problems, and the key of their search


class Searched(NamedTuple):
    """What this process has of a searched batch.

    Attributes:
      rows: [B] int. The places of its problems in the batch.
      problems: these problems.
      trees: a tree of each, which knows which of its finished candidates are right.
      expert: who searched.
      round, unit: when in the run.
      updates: how many updates the parameters that searched had seen.
    """

    rows: np.ndarray
    problems: list[Problem]
    trees: SearchTree
    expert: str = ""
    round: int = 0
    unit: int = 0
    updates: int = 0


class SelfPlay:
    """Of an expert that was compiled with `judge`: its leaves are worth their verdicts."""

    def __init__(self, player: Player, judge: HostJudge, budget: int):
        self._player, self._judge, self._budget = player, judge, budget

    def search(self, params, batch: Batch, upcoming: Batch | None = None) -> Searched:
        """Searches a batch of problems.

        upcoming: the batch that will be asked for next, if any (no use is made of it here).
        """
        problems, key = batch
        self._judge.problems = problems
        rows, trees = self._player.play_own(params, _questions(problems), key, self._budget)
        return Searched(rows, [problems[row] for row in rows], trees)


class GuessAndCheck:
    """Of an expert that needs no verdict while it draws: see `SelfPlay` for how it is used."""

    def __init__(self, player: Player, verdicts: Verifier, budget: int):
        self._player, self._verdicts, self._budget = player, verdicts, budget
        self._ahead: _Drawn | None = None

    def search(self, params, batch: Batch, upcoming: Batch | None = None) -> Searched:
        drawn = self._ahead
        if drawn is None or not _same(drawn.batch, batch):
            drawn = self._draw(params, batch)
        # The verdicts on this batch are given in other processes meanwhile.
        self._ahead = None if upcoming is None else self._draw(params, upcoming)
        trees = drawn.searched.trees
        won = np.zeros_like(trees.finished)
        won[drawn.asked] = drawn.verdicts.result()
        worth = won.astype(trees.value.dtype)
        return drawn.searched._replace(trees=trees._replace(won=won, value=worth, q=worth))

    def _draw(self, params, batch: Batch) -> "_Drawn":
        problems, key = batch
        rows, trees = self._player.play_own(params, _questions(problems), key, self._budget)
        own = [problems[row] for row in rows]
        asked = np.nonzero(trees.finished & trees.valid)
        texts = [
            self._player.tokenizer.decode(tokens[:length].tolist())
            for tokens, length in zip(trees.token[asked], trees.length[asked], strict=True)
        ]
        verdicts = self._verdicts.submit([own[b] for b in asked[0]], texts)
        return _Drawn(batch, Searched(rows, own, trees), asked, verdicts)


class _Drawn(NamedTuple):
    """A batch whose verdicts are still being given; asked: which candidates they are about."""

    batch: Batch
    searched: Searched
    asked: tuple[np.ndarray, ...]
    verdicts: Future[list[bool]]


def _questions(problems: Sequence[Problem]):
    return [problem.question for problem in problems]


def _same(one: Batch, other: Batch) -> bool:
    keys = (jax.random.key_data(key) for _, key in (one, other))
    return one[0] == other[0] and np.array_equal(*keys)
