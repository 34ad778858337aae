r"""LaTeX expressions: a canonical spelling for votes, and equality by the library math-verify.

A verdict is a reward, so the library's leniency is limited. If an answer does not parse completely,
or the parser would misread it (see latex.py), it must have the spelling of the right answer, apart
from spaces and braces. The precision of a comparison follows the smallest number in either
expression, because the library's fixed precision equates 2^{-77} and 0.

Some leniency remains. Units are not compared: 7 cm equals 7 m. 90% and 90 degrees equal 90. E
equals e. x^12 equals x^{12}, although TeX prints them differently. A chain of equations counts as
its last term, even if it is wrong: 3 + 4 = 8 counts as 8.
"""

import functools
import logging
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

from expert_iter.tasks.words.answers import final_answer, latex, number

MOST_CHARACTERS = 400
_MOST_DECIMALS = 1000  # computing more would take minutes

_DELIMITERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("`", "`"))
_SPELLINGS = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\left\b|\\right\b|\\[!,;: ]|(?<!\\)~", " "),
        (r"\\[dt]frac\b", r"\\frac"),
        (r"_\s*([0-9]+|[A-Za-z])", r"_{\1}"),
        (r"\s+", " "),
        (r"(?<![0-9]) | (?![0-9])", ""),  # but "1 2" is not 12
    )
]


def canonical(text: str) -> str | None:
    r"""The expression without spaces, \left, a final period, surrounding $ and the like.

    A plain number is reduced to lowest terms. Nothing else is computed, so this is fast for any
    text. None if the expression is empty or too long, or its braces do not balance.
    """
    text = _inner(text)
    if not 1 <= len(text) <= MOST_CHARACTERS or not _balanced(text):
        return None
    if (value := number.bare(text)) is not None:
        return value
    for pattern, replacement in _SPELLINGS:
        text = pattern.sub(replacement, text)
    return text or None


def equal(gold: str, answer: str) -> bool:
    """Whether two expressions are equal, by math-verify; False if it cannot decide.

    The library's time limits are off, because they use alarms, which only a main thread can set.
    """
    from math_verify import verify  # takes a second

    # Without a time limit it logs a warning.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    texts = [latex.parsable(_inner(text)) for text in (gold, answer)]
    if None in texts or sorted(map(_brackets, texts)) == ["()", "{}"]:
        return False
    try:
        right, found = map(_parsed, texts)
        small = max(map(_leading_zeros, (right, found)))
        return small <= _MOST_DECIMALS and verify(
            right,
            found,
            float_rounding=6 + max(0, small - 2),  # six decimals for numbers of 0.01 or more
            numeric_precision=15 + small,
            timeout_seconds=None,
        )
    except Exception:  # the parsers can raise anything for a malformed expression
        return False


@functools.lru_cache(1024)  # a right answer is compared with many answers
def _parsed(text: str) -> Any:
    """The expression as sympy's; names keep their case. Raises if it does not parse."""
    from latex2sympy2_extended import NormalizationConfig, latex2sympy
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig
    from math_verify.grader import should_treat_as_complex

    return latex2sympy(
        text,
        is_real=not should_treat_as_complex(text),
        normalization_config=NormalizationConfig(
            units=False, malformed_operators=True, nits=True, boxed="none"
        ),
        conversion_config=ConversionConfig(lowercase_symbols=False),
    )


def _leading_zeros(expression: Any) -> int:
    """The number of zeros after the decimal point of the smallest number in an expression."""
    import mpmath

    values = (abs(part.evalf(3)) for part in _numbers(expression))
    exponents = [mpmath.mag(value) for value in values if value.is_finite and value]
    return max(0, int(-0.30103 * min(exponents, default=0)))  # log10(2)


def _numbers(expression: Any) -> Iterator[Any]:
    """The subexpressions that are numbers, except integers."""
    from sympy import MatrixBase, preorder_traversal

    parts = expression.flat() if isinstance(expression, MatrixBase) else [expression]
    for part in parts:
        for each in preorder_traversal(part):
            if getattr(each, "is_number", False) and not each.is_Integer:
                yield each


def _brackets(text: str) -> str:
    return text[:1] + text[-1:] if text.startswith("(") else text[1:2] + text[-1:]


def _inner(text: str) -> str:
    """The expression in normal form C, without delimiters and final punctuation."""
    text = unicodedata.normalize("NFC", text)
    while True:
        text = text.strip().removesuffix(".").removesuffix(",").strip()
        for left, right in _DELIMITERS:
            inner = text.removeprefix(left).removesuffix(right)
            if len(inner) == len(text) - len(left) - len(right) and left not in inner:
                text = inner
                break
        else:
            return text


def _balanced(text: str) -> bool:
    depths = [0, *(depth for depth, _ in final_answer.brace_depths(text))]
    return min(depths) == depths[-1] == 0
