"""The expert at play: it searches problems, and the verifier says what is right.

A tree search wants verdicts while it goes on, for its leaves. Guess-and-check wants them at the
end. Either way another batch is searched meanwhile: the devices draw while verdicts are given.
"""

import functools
import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
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
    """Of an expert that asks the verifier as it searches: its leaves are worth their verdicts.

    in_flight: batches that are searched at once.
    """

    def __init__(self, player: Player, verifier: HostVerifier, in_flight: int):
        self._player, self._verifier, self._in_flight = player, verifier, in_flight

    def searches(self, params, batches: Iterable[Batch]) -> Iterator[Searched]:
        """Searches batches and yields them in their order."""
        params = self._player.gathered(params)
        batches, searching = iter(batches), deque()
        while True:
            for batch in itertools.islice(batches, self._in_flight - len(searching)):
                searching.append(self._search(params, *batch))
                next(searching[-1])
            if not searching:
                return
            # In a fixed turn, not by who is ready: processes whose devices search the same rows
            # must launch programs in the same order.
            if found := next(searching[0]):
                searching.popleft()
                yield found
            else:
                for search in itertools.islice(searching, 1, None):
                    next(search)

    def _search(self, params, problems: Sequence[Problem], key) -> Iterator[Searched | None]:
        """Yields None where the devices or the verifier have work that it would wait for, and the
        searched batch ever after.
        """
        questions = [problem.question for problem in problems]
        ask = functools.partial(self._verifier.ask, problems)
        rows, trees = yield from self._player.play_in_parts(
            params, questions, key, self._player.expert.most, ask
        )
        yield from itertools.repeat(Searched(rows, [problems[row] for row in rows], trees))


class GuessAndCheck(SelfPlay):
    """Of an expert whose solutions are verified after the search."""

    def __init__(self, player: Player, verifier: Verifier, in_flight: int):
        self._player, self._verifier, self._in_flight = player, verifier, in_flight

    def _search(self, params, problems: Sequence[Problem], key) -> Iterator[Searched | None]:
        questions = [problem.question for problem in problems]
        player, most = self._player, self._player.expert.most
        if player.in_parts:  # a world answers steps
            rows, trees = yield from player.play_in_parts(params, questions, key, most, None)
        else:
            rows, trees = player.play_own(params, questions, key, most)
        problems, c = [problems[row] for row in rows], trees.candidates
        asked = np.nonzero(c.finished & c.valid)
        written = zip(c.token[asked].tolist(), c.length[asked].tolist(), strict=True)
        texts = self._player.tokenizer.decode_all([tokens[:length] for tokens, length in written])
        verdicts = self._verifier.submit([problems[b] for b in asked[0]], texts)
        yield
        won = np.zeros_like(c.finished)
        won[asked] = verdicts.result()
        value = won.astype(trees.value.dtype)
        trees = trees._replace(won=won, value=value, q=value)
        yield from itertools.repeat(Searched(rows, problems, trees))
