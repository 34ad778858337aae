"""What numbers can still come to, by brute force: the exact value of a prefix, as a ruler for value
heads.
"""

import functools
import itertools
from fractions import Fraction

from expert_iter.tasks.numbers.arithmetic import OPERATORS, Number, apply, read_number

_MOST_KEPT = 1 << 18


def target_is_reachable(prompt: str, solution: str) -> bool:
    """Whether legal moves lead from a solution's last line to the target.

    Args:
      prompt: of a number game.
      solution: legal so far; '' for nothing.
    """
    numbers, _, target = prompt.partition("->")
    lines = solution.splitlines()
    left = lines[-1].partition(" : ")[2] if lines else numbers
    return read_number(target.strip()) in values(_sorted(map(read_number, left.split())))


@functools.lru_cache(_MOST_KEPT)
def values(numbers: tuple[Number, ...]) -> frozenset[Number]:
    """All that sorted numbers can be combined into, each used once."""
    if len(numbers) == 1:
        return frozenset(numbers)
    found: set[Number] = set()
    for i, j in itertools.permutations(range(len(numbers)), 2):
        rest = [number for k, number in enumerate(numbers) if k not in (i, j)]
        for operator in OPERATORS:
            if i > j and operator in "+*":
                continue  # the same as with i and j exchanged
            result = apply(numbers[i], numbers[j], operator)
            if result is not None:
                found |= values(_sorted([*rest, result]))
    return frozenset(found)


def _sorted(numbers) -> tuple[Number, ...]:
    return tuple(sorted(numbers, key=Fraction))
