"""Samples solvable problems from a seed, and hashes their numbers for splits."""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from expert_iter.tasks.numbers.arithmetic import Goal


def hash_of(numbers: Sequence[int]) -> int:
    """A uniform 32-bit hash of the multiset of the numbers, independent of the seed.

    A split by the hash is the same in all runs, so no run trains on another's test problems.
    """
    text = " ".join(map(str, sorted(numbers)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big")


def distinct(goals: Iterable[Goal]) -> list[Goal]:
    """The goals without repetitions; the order of a goal's numbers is ignored."""
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
    """Samples distinct problems: random numbers, with the result of a random play as the target.

    Args:
      rng: the source of randomness.
      plays: random plays; there are at most as many problems.
      numbers: how many numbers a problem has.
      smallest, largest: range of the numbers, ends included.
      targets: range of the targets, ends included. Problems outside are dropped.
      max_value: largest number in a play.

    Returns:
      The problems, in random order.
    """
    numbers_BxN = rng.integers(smallest, largest, size=(plays, numbers), endpoint=True)
    targets_B = random_targets(numbers_BxN, rng, max_value)
    wanted = (targets_B >= targets[0]) & (targets_B <= targets[1])
    rows = zip(numbers_BxN[wanted].tolist(), targets_B[wanted].tolist(), strict=True)
    goals = distinct(Goal(tuple(row), target) for row, target in rows)
    # Shuffled, for problems that many plays produce tend to come first.
    return [goals[i] for i in rng.permutation(len(goals))]


def random_targets(numbers_BxN: np.ndarray, rng: np.random.Generator, max_value: int) -> np.ndarray:
    """The results of random legal plays, one for each row.

    The plays are distributed as in `arithmetic.random_play` with `max_denominator=1`.

    Args:
      numbers_BxN: [B, N] int, from 0 to `max_value`.
      rng: the source of randomness.
      max_value: largest number in a play.

    Returns:
      [B] int64.
    """
    left = numbers_BxN.astype(np.int64)
    for n in range(left.shape[1], 1, -1):
        rows = np.arange(len(left))
        results = np.empty(len(left), np.int64)
        order = np.empty_like(left, dtype=np.int64)
        while len(rows):
            # A random order of each row; its first two entries are the operands.
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
