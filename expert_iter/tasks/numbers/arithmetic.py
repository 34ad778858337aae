"""The rules of number games: combine two numbers at a time until one is left.

    3 5 7 -> 15            the prompt: the numbers and the target, then a newline
    3 + 5 = 8 : 7 8        a step: a op b = c, then the numbers that remain, c among them
    7 + 8 = 15 : 15        the last step has no newline after it

A number is an integer or a fraction such as `8/3`. All arithmetic is exact.
"""

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

OPERATORS = "+-*/"
Number = int | Fraction


class Goal(NamedTuple):
    """What the verifier knows about a problem.

    Attributes:
      numbers: to combine, each once.
      target: of the combination.
    """

    numbers: tuple[int, ...]
    target: int


def prompt(goal: Goal) -> str:
    """The goal as the network reads it."""
    return f"{' '.join(map(str, goal.numbers))} -> {goal.target}\n"


# At most 12 digits, so that a verdict takes time linear in the length of the solution.
_NUMBER = re.compile(r"(0|-?[1-9][0-9]{0,11})(?:/([1-9][0-9]{0,11}))?")


class _NumberReader(dict):
    """Maps text to a number, or to None if it is not one. Small integers are precomputed."""

    def __missing__(self, text: str) -> Number | None:
        match = _NUMBER.fullmatch(text)
        if match is None:
            return None
        top, bottom = match.groups()
        return int(top) if bottom is None else Fraction(int(top), int(bottom))


_read = _NumberReader({str(n): n for n in range(1000)})


def read_number(text: str) -> Number | None:
    """None if the text is no number."""
    return _read[text]


def apply(a: Number, b: Number, operator: str) -> Number | None:
    """The exact result; None for a division by zero."""
    if operator == "+":
        return a + b
    if operator == "-":
        return a - b
    if operator == "*":
        return a * b
    if b == 0:
        return None
    quotient = Fraction(a) / b
    return quotient.numerator if quotient.denominator == 1 else quotient


def final_value(numbers: Sequence[int], solution: str) -> Number | None:
    """The number that a finished, legal solution ends with; None for any other text.

    A legal step combines two of the remaining numbers, states the right result, and lists the
    numbers that remain, in any order. The solution is finished when one number remains.
    """
    left: list[Number | None] = list(numbers)
    if solution.count("\n") != len(left) - 2:
        return None
    for line in solution.split("\n"):
        words = line.split(" ")
        if len(words) != len(left) + 5 or words[3] != "=" or words[5] != ":":
            return None
        operator = words[1]
        a, b, c = _read[words[0]], _read[words[2]], _read[words[4]]
        try:
            left.remove(a)
            left.remove(b)
        except ValueError:
            return None
        if operator == "+":
            is_true = a + b == c
        elif operator == "-":
            is_true = a - b == c
        elif operator == "*":
            is_true = a * b == c
        else:
            is_true = operator == "/" and b != 0 and c is not None and b * c == a
        if not is_true:
            return None
        left.append(c)
        remain = [_read[word] for word in words[6:]]
        if remain != left and (None in remain or sorted(remain) != sorted(left)):
            return None
    return left[0]


def proposal(numbers: Sequence[int], solution: str) -> str | None:
    """The solution as one expression. Solutions that differ only in order give the same one.

    Sums and products are flattened and their terms sorted. Nothing is computed: a wrong result
    counts as stated, so the expression does not show whether the solution is right.

    Returns:
      The expression; None if a line is not a step, a step uses a missing number, or more than one
      number remains.
    """
    # Each remaining number, with its last operator ('' for a given number) and its terms.
    left = [(number, "", (str(number),)) for number in numbers]
    for line in solution.split("\n"):
        words = line.split(" ")
        operator = words[1] if len(words) > 6 and words[3] == "=" and words[5] == ":" else None
        if operator not in tuple(OPERATORS):
            return None
        terms = []
        for name in (words[0], words[2]):
            value = _read[name]
            found = next((entry for entry in left if entry[0] == value), None)
            if found is None:
                return None
            left.remove(found)
            flat = found[1] == operator and operator in "+*"
            terms += found[2] if flat else [_expression(*found[1:])]
        result = _read[words[4]]
        if result is None:
            return None
        left.append((result, operator, tuple(sorted(terms) if operator in "+*" else terms)))
    return _expression(*left[0][1:]) if len(left) == 1 else None


def _expression(operator: str, terms: tuple[str, ...]) -> str:
    return f"({operator.join(terms)})" if operator else terms[0]


# Tries in one state before a play starts again: enough where one move in a hundred is legal.
_TRIES = 500


def random_play(
    numbers: Sequence[int], rng: np.random.Generator, max_value: int, max_denominator: int = 1
) -> str:
    """A finished solution whose steps are sampled uniformly from the legal moves.

    There always is one: subtracting a smaller number from a larger one stays in range.

    Args:
      numbers: at least 0.
      rng: the source of randomness.
      max_value: largest numerator of a result, if no given number is larger.
      max_denominator: largest denominator of a result; 1 allows integers only.
    """
    cap = max(max_value, *numbers)
    while True:
        left: list[Number] = list(numbers)
        lines = []
        while len(left) > 1 and (move := _random_move(left, rng, cap, max_denominator)):
            i, j, operator, c = move
            a, b = left[i], left[j]
            left = [x for k, x in enumerate(left) if k != i and k != j] + [c]
            lines.append(f"{a} {operator} {b} = {c} : {' '.join(map(str, left))}")
        if len(left) == 1:
            return "\n".join(lines)


def _random_move(
    left: list[Number], rng: np.random.Generator, cap: int, max_denominator: int
) -> tuple[int, int, str, Number] | None:
    """Two positions, an operator and the result; None if no try finds a legal move."""
    n = len(left)
    for _ in range(_TRIES):
        drawn, operator = divmod(int(rng.random() * (4 * n * (n - 1))), 4)
        i, j = divmod(drawn, n - 1)
        j += j >= i
        a, b = left[i], left[j]
        if operator == 0:
            c = a + b
        elif operator == 1:
            c = a - b
        elif operator == 2:
            c = a * b
        elif b == 0:
            continue
        else:
            c = Fraction(a, b)
        if c.denominator == 1:
            c = c.numerator
        if 0 <= c.numerator <= cap and c.denominator <= max_denominator:
            return i, j, OPERATORS[operator], c
    return None
