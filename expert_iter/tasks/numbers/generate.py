"""Drawing solvable problems from a seed, and splitting them by their numbers."""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from expert_iter.tasks.numbers.arithmetic import Goal


def hash_of(numbers: Sequence[int]) -> int:
    """32 even bits that depend on the multiset of the numbers and on nothing else, seed included.

    So a split by them is the same in every run: what one run tests on, no other trains on.
    """
    text = " ".join(map(str, sorted(numbers)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big")


def distinct(goals: Iterable[Goal]) -> list[Goal]:
    """The first of the goals that differ in the order of their numbers only."""
    first = {}
    for goal in goals:
        first.setdefault((*sorted(goal.numbers), goal.target), goal)
    return list(first.values())


def random_goals(
    rng: np.random.Generator,
    plays: int,
    numbers: int,
    smallest: int,
    largest: int,
    targets: tuple[int, int],
    max_value: int,
) -> list[Goal]:
    """The distinct problems that so many random plays solve, in random order.

    `numbers` of them are drawn evenly from `smallest` to `largest`, a play gives the target, and
    what falls outside `targets` (both ends included) is dropped.
    """
    numbers_BxN = rng.integers(smallest, largest, size=(plays, numbers), endpoint=True)
    targets_B = random_targets(numbers_BxN, rng, max_value)
    wanted = (targets_B >= targets[0]) & (targets_B <= targets[1])
    rows = zip(numbers_BxN[wanted].tolist(), targets_B[wanted].tolist(), strict=True)
    goals = distinct(Goal(tuple(row), target) for row, target in rows)
    # Those that many plays lead to came first: forget that.
    return [goals[i] for i in rng.permutation(len(goals))]


def random_targets(numbers_BxN: np.ndarray, rng: np.random.Generator, max_value: int) -> np.ndarray:
    """What a random legal play of whole numbers ends with, for each row of numbers: [B].

    The same plays as `arithmetic.random_play` with `max_denominator` 1, many at once; here no row
    may hold a number above `max_value`.
    """
    left = numbers_BxN.astype(np.int64)
    for n in range(left.shape[1], 1, -1):
        rows = np.arange(len(left))
        results = np.empty(len(left), np.int64)
        order = np.empty_like(left, dtype=np.int64)
        while len(rows):
            # A fresh random order of the row: its first two entries are the operands.
            drawn = rng.permuted(np.broadcast_to(np.arange(n), (len(rows), n)), axis=1)
            a = left[rows, drawn[:, 0]]
            b = left[rows, drawn[:, 1]]
            operator = rng.integers(4, size=len(rows))
            divides = (b != 0) & (a % np.maximum(b, 1) == 0)
            c = np.choose(operator, [a + b, a - b, a * b, a // np.maximum(b, 1)])
            legal = (c >= 0) & (c <= max_value) & (divides | (operator != 3))
            results[rows[legal]] = c[legal]
            order[rows[legal]] = drawn[legal]
            rows = rows[~legal]
        untouched = np.take_along_axis(left, order[:, 2:], axis=1)
        left = np.concatenate([untouched, results[:, None]], axis=1)
    return left[:, 0]
