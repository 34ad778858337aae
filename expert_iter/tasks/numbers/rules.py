"""The rules of number games as a world: the network writes a move, the world computes its result.

    3 5 7 -> 15            the prompt
    3 + 5 =                a move, which the world continues: 8 : 7 8
    7 + 8 =                the last one, continued: 15 : 15

So a text is the same whoever computes, and the verifier need not know.
"""

import re
from fractions import Fraction

from expert_iter.tasks.numbers.arithmetic import apply, read_number
from expert_iter.tasks.world import GOES_ON, ILLEGAL, OVER, Observation

_MOVE = re.compile(r"(\S+) ([-+*/]) (\S+) =( ?)")


class NumberRules:
    """The `World` of number games. It never looks at the target."""

    marks = ("=",)

    def observe(self, prompt: str, text: str) -> Observation:
        """Answers `3 + 5 =` with the result and the numbers that remain. A move is illegal if it
        uses a number that is not there, divides by zero, or comes to a number of too many digits.
        """
        *before, line = text.split("\n")
        given = before[-1].partition(" : ")[2] if before else prompt.partition("->")[0]
        left = [read_number(word) for word in given.split()]
        move = _MOVE.fullmatch(line)
        result = move and _result(left, *move.groups()[:3])
        if result is None:
            return Observation("", ILLEGAL)
        left.append(result)
        remain = " ".join(map(str, left))
        blank = "" if move[4] else " "
        if len(left) == 1:
            return Observation(f"{blank}{result} : {remain}", OVER)
        return Observation(f"{blank}{result} : {remain}\n", GOES_ON)

    def retold(self, prompt: str, solution: str) -> str:
        """A legal solution with remaining numbers in the order in which the world lists them."""
        text = ""
        for line in solution.split("\n"):
            text += line.partition("=")[0] + "="
            text += self.observe(prompt, text).text
        return text


def _result(left: list, a: str, operator: str, b: str) -> int | Fraction | None:
    """Of the move; its numbers are taken from `left`. None if it is illegal."""
    numbers = read_number(a), read_number(b)
    try:
        for number in numbers:
            left.remove(number)
    except ValueError:
        return None
    result = apply(*numbers, operator)
    is_readable = result is not None and read_number(str(result)) is not None
    return result if is_readable else None
