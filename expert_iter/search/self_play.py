"""The expert at play: it searches problems, and the verifier says what is right.

A tree search wants verdicts while it goes on, for its leaves. Guess-and-check does not: its
solutions are verified while the next batch is being drawn.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
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

    def __init__(self, player: Player, verifier: HostVerifier):
        self._player, self._verifier = player, verifier

    def searches(self, params, batches: Iterable[Batch]) -> Iterator[Searched]:
        """Searches one batch after another."""
        for problems, key in batches:
            self._verifier.problems = problems
            yield self._searched(params, problems, key)

    def _searched(self, params, problems: Sequence[Problem], key) -> Searched:
        questions = [problem.question for problem in problems]
        rows, trees = self._player.play_own(params, questions, key, self._player.expert.most)
        return Searched(rows, [problems[row] for row in rows], trees)


class GuessAndCheck(SelfPlay):
    """Of an expert whose solutions are verified after the search."""

    def __init__(self, player: Player, verifier: Verifier):
        self._player, self._verifier = player, verifier

    def searches(self, params, batches: Iterable[Batch]) -> Iterator[Searched]:
        """Searches one batch after another, each before the verdicts on the one before it are
        waited for: they are given in other processes meanwhile.
        """
        before = None
        for batch in batches:
            asked = self._ask(self._searched(params, *batch))
            if before:
                yield before()
            before = asked
        if before:
            yield before()

    def _ask(self, searched: Searched) -> Callable[[], Searched]:
        """Hands all solutions to the verifier. The function returned waits for the verdicts."""
        trees, c = searched.trees, searched.trees.candidates
        asked = np.nonzero(c.finished & c.valid)
        written = zip(c.token[asked].tolist(), c.length[asked].tolist(), strict=True)
        texts = self._player.tokenizer.decode_all([tokens[:length] for tokens, length in written])
        verdicts = self._verifier.submit([searched.problems[b] for b in asked[0]], texts)

        def verified() -> Searched:
            won = np.zeros_like(c.finished)
            won[asked] = verdicts.result()
            value = won.astype(trees.value.dtype)
            return searched._replace(trees=trees._replace(won=won, value=value, q=value))

        return verified
