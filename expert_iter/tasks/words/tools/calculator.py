"""A calculator as a world, in GSM8K's notation (Cobbe et al. 2021, arXiv 2110.14168, section 4.2).

    She sold 48/2 = <<48/2=         the network writes, up to the = of an expression
    24>>                            the calculator answers
    24 clips.                       the network goes on

Arithmetic is exact. Results are printed as GSM8K prints them: as integers and decimals. One whose
decimals do not end is printed as a fraction, of which GSM8K has none.
"""

import operator
import re
from collections.abc import Callable
from fractions import Fraction

from expert_iter.tasks.world import GOES_ON, ILLEGAL, Observation

ANNOTATION = re.compile(r"<<[^<>\n]*>>")
ERROR = "error"

_EXPRESSION = re.compile(r"<<([^<>\n=]*)=([^<>\n]*)>>")
_MOST_CHARACTERS = 200  # of an expression
_MOST_NUMBER = 10**15  # of numerators and denominators on the way
_MOST_DECIMALS = 10  # of a result; one with more is printed as a fraction
_TOKEN = re.compile(
    r"\s*(?:([0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]*)?(?![0-9,])|[0-9]+\.?[0-9]*|\.[0-9]+)|(//|[-+*/()]))"
)
_OPERATIONS = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
}


class Calculator:
    """The `World` of a calculator: it answers `<<48/2=` with `24>>`, and nothing else.

    A step is illegal if it brings a result of its own, as with a token that goes on behind the `=`.
    """

    # An = outside of an expression ends a step too, which is answered with nothing.
    marks = ("=",)
    symbols = ("<<", "=", ">>")
    in_process = True
    chat = "Write <<48/2= where you want a calculator to go on with the result and >>."

    def observe(self, prompt: str, text: str) -> Observation:
        line = text.rpartition("\n")[2]
        written = (match.groups() for match in _EXPRESSION.finditer(line))
        if any(result.strip() != calculated(expression) for expression, result in written):
            return Observation("", ILLEGAL)
        _, opened, rest = line.rpartition("<<")
        expression, asked, begun = rest.partition("=")
        if not (opened and asked) or ">>" in rest:
            return Observation("", GOES_ON)
        answer, begun = f"{calculated(expression)}>>", begun.lstrip()
        if not answer.startswith(begun):
            return Observation("", ILLEGAL)
        return Observation(answer[len(begun) :], GOES_ON)


def calculated(expression: str) -> str:
    """The result of `+ - * / //` and parentheses, or `ERROR` if there is none to be printed: the
    expression is malformed or long, divides by zero, or comes to more than 15 digits.
    """
    if len(expression) > _MOST_CHARACTERS:
        return ERROR
    try:
        return _printed(_Parser(expression).value())
    except (ValueError, ZeroDivisionError):
        return ERROR


def annotation(expression: str) -> str:
    """`<<48/2=24>>`, of an expression that may have blanks."""
    expression = "".join(expression.split())
    return f"<<{expression}={calculated(expression)}>>"


def annotated(solution: str, is_right: Callable[[str], bool]) -> str:
    """A solution whose annotations are as the calculator writes them.

    Those with another result are left out, and so is every `<<` that the calculator would answer
    otherwise. An annotation may have a result that is rounded; then the calculator's stands in it,
    and the text behind it goes on with the rounded one.

    Args:
      solution: a finished solution.
      is_right: the verdict. If the solution with annotations is not right, it gets none.
    """
    if "<<" not in solution:
        return solution
    parts, end = [], 0
    for match in _EXPRESSION.finditer(solution):
        parts += [_without_marks(solution[end : match.start()]), _kept(*match.groups())]
        end = match.end()
    text = "".join([*parts, _without_marks(solution[end:])])
    return text if is_right(text) else _without_marks(ANNOTATION.sub("", solution))


def _without_marks(text: str) -> str:
    return ANNOTATION.sub("", text).replace("<<", "")


def _kept(expression: str, result: str) -> str:
    """The annotation with the calculator's result, or '' if that is another number."""
    calculated_result = calculated(expression)
    try:
        exact, written = _read(calculated_result), _read(result)
    except ValueError:
        return ""
    unit = 0 if "/" in result else Fraction(1, 10 ** len(result.strip().partition(".")[2]))
    is_same = exact == written or (exact.denominator > 1 and abs(exact - written) < unit)
    return f"<<{expression}={calculated_result}>>" if is_same else ""


def _read(result: str) -> Fraction:
    """A result as GSM8K writes it, such as 24, .5, 16.00 and 3/4. Raises ValueError for others."""
    if not re.fullmatch(r"\s*-?(?:[0-9]+/[0-9]+|[0-9]+\.?[0-9]*|\.[0-9]+)\s*", result):
        raise ValueError(result)
    return Fraction(result.strip())


class _Parser:
    """Recursive descent. Its methods raise ValueError where the text is not arithmetic."""

    def __init__(self, text: str):
        self._tokens, end = [], 0
        text = text.rstrip()
        while end < len(text):
            match = _TOKEN.match(text, end)
            if match is None:
                raise ValueError(text)
            self._tokens.append(match[1] or match[2])
            end = match.end()
        self._tokens.append("")
        self._at = 0

    def value(self) -> Fraction:
        """The value of the whole text."""
        value = self._sum()
        if self._next():
            raise ValueError(self._next())
        return value

    def _next(self, *which: str) -> str:
        """The next token, which is taken if it is one of `which`; '' if it is none of them."""
        token = self._tokens[self._at]
        if which and token not in which:
            return ""
        self._at += bool(which)
        return token

    def _sum(self) -> Fraction:
        value = self._product()
        while sign := self._next("+", "-"):
            value = _applied(sign, value, self._product())
        return value

    def _product(self) -> Fraction:
        value = self._factor()
        while sign := self._next("*", "/", "//"):
            value = _applied(sign, value, self._factor())
        return value

    def _factor(self) -> Fraction:
        if self._next("-"):
            return -self._factor()
        if self._next("+"):
            return self._factor()
        if self._next("("):
            value = self._sum()
            if not self._next(")"):
                raise ValueError("an open parenthesis")
            return value
        return _bounded(Fraction(self._next(self._next()).replace(",", "")))


def _applied(sign: str, left: Fraction, right: Fraction) -> Fraction:
    return _bounded(Fraction(_OPERATIONS[sign](left, right)))


def _bounded(value: Fraction) -> Fraction:
    if max(abs(value.numerator), value.denominator) >= _MOST_NUMBER:
        raise ValueError("too large")
    return value


def _printed(value: Fraction) -> str:
    scaled = value * 10**_MOST_DECIMALS
    if scaled.denominator > 1:
        return str(value)
    digits = str(abs(scaled.numerator)).zfill(_MOST_DECIMALS + 1)
    whole, decimals = digits[:-_MOST_DECIMALS], digits[-_MOST_DECIMALS:].rstrip("0")
    sign = "-" if value < 0 else ""
    return f"{sign}{whole}.{decimals}" if decimals else f"{sign}{whole}"
