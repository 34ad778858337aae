"""The expert at play: it searches problems, and the verifier says what is right.

A tree search wants verdicts while it goes on, for its leaves. Guess-and-check does not: its
solutions are verified while the next batch is being drawn.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import NamedTuple

import jax
import numpy as np

from expert_iter.search.host_verifier import HostVerifier
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
    """Of an expert that asks the verifier as it searches: its leaves are worth their verdicts."""

    def __init__(self, player: Player, verifier: HostVerifier, budget: int):
        self._player, self._verifier, self._budget = player, verifier, budget

    def searches(self, params, batches: Iterable[Batch]) -> Iterator[Searched]:
        """Searches one batch after another."""
        for problems, key in batches:
            self._verifier.problems = problems
            rows, trees = self._player.play_own(params, _questions(problems), key, self._budget)
            yield Searched(rows, [problems[row] for row in rows], trees)


class GuessAndCheck:
    """Of an expert whose solutions are verified after the search."""

    def __init__(self, player: Player, verifier: Verifier, budget: int):
        self._player, self._verifier, self._budget = player, verifier, budget

    def searches(self, params, batches: Iterable[Batch]) -> Iterator[Searched]:
        """Searches one batch after another, each before the verdicts on the one before it are
        waited for: they are given in other processes meanwhile.
        """
        drawn = None
        for batch in batches:
            before, drawn = drawn, self._draw(params, batch)
            if before is not None:
                yield _verified(before)
        if drawn is not None:
            yield _verified(drawn)

    def _draw(self, params, batch: Batch) -> "_Drawn":
        problems, key = batch
        rows, trees = self._player.play_own(params, _questions(problems), key, self._budget)
        own, c = [problems[row] for row in rows], trees.candidates
        asked = np.nonzero(c.finished & c.valid)
        texts = [
            self._player.tokenizer.decode(tokens[:length].tolist())
            for tokens, length in zip(c.token[asked], c.length[asked], strict=True)
        ]
        verdicts = self._verifier.submit([own[b] for b in asked[0]], texts)
        return _Drawn(Searched(rows, own, trees), asked, verdicts)


class _Drawn(NamedTuple):
    """A batch whose verdicts are still being given.

    Attributes:
      searched: the batch.
      asked: indices [B, N, K] of the candidates that the verdicts are about.
      verdicts: those, when they are there.
    """

    searched: Searched
    asked: tuple[np.ndarray, ...]
    verdicts: Future[list[bool]]


def _verified(drawn: _Drawn) -> Searched:
    trees = drawn.searched.trees
    won = np.zeros_like(trees.candidates.finished)
    won[drawn.asked] = drawn.verdicts.result()
    value = won.astype(trees.value.dtype)
    return drawn.searched._replace(trees=trees._replace(won=won, value=value, q=value))


def _questions(problems: Sequence[Problem]):
    return [problem.question for problem in problems]
