r"""LaTeX expressions: one spelling for votes, and equality by the library math-verify.

A verdict is a reward, so the library's leniency is bounded. All of an answer must parse, else it is
right only if it is spelt like the right one, but for blanks and braces; the same holds for what the
parser would misread (see latex.py). Numbers are compared to a precision that follows the smallest
in either expression, for the library's own would take 2^{-77} for 0.

What is left: units are not compared (7 cm is 7 m); 90% is 90 and so is 90 degrees; E is e; x^12 is
x^{12}, though TeX prints another thing; a chain of equations counts by its last term, whether it
holds or not (3 + 4 = 8 is 8).
"""

import functools
import logging
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

from expert_iter.tasks.words.answers import latex, number

MOST_CHARACTERS = 400
_MOST_DECIMALS = 1000  # more would be worked out for minutes

_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
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
    r"""The expression without what does not change it: blanks, \left, a closing period, $ around.

    A plain number is written in lowest terms. Nothing is worked out, so this is quick for any text.
    None if the expression is empty, too long, or its braces do not balance.
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
    """Whether two expressions are equal in math-verify's judgement; False if it cannot tell.

    Its own time limits are off: they are alarms, which only a main thread may set.
    """
    from math_verify import verify  # takes a second

    # Without a limit of its own it warns, once, that one should be set outside.
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
            float_rounding=6 + max(0, small - 2),  # six decimals where numbers reach a hundredth
            numeric_precision=15 + small,
            timeout_seconds=None,
        )
    except Exception:  # whatever a malformed expression sets off in a library of parsers
        return False


@functools.lru_cache(1024)  # each right answer is compared with many
def _parsed(text: str) -> Any:
    """What sympy makes of an expression, names in their own case. Raises if it does not parse."""
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
    """Zeros behind the decimal point of the smallest number in an expression."""
    import mpmath

    values = (abs(part.evalf(3)) for part in _numbers(expression))
    exponents = [mpmath.mag(value) for value in values if value.is_finite and value]
    return max(0, int(-0.30103 * min(exponents, default=0)))  # log10(2)


def _numbers(expression: Any) -> Iterator[Any]:
    """The numbers in an expression, and the parts of it that come to one; whole ones left out."""
    from sympy import MatrixBase, preorder_traversal

    parts = expression.flat() if isinstance(expression, MatrixBase) else [expression]
    for part in parts:
        for each in preorder_traversal(part):
            if getattr(each, "is_number", False) and not each.is_Integer:
                yield each


def _brackets(text: str) -> str:
    return text[:1] + text[-1:] if text.startswith("(") else text[1:2] + text[-1:]


def _inner(text: str) -> str:
    """The expression without delimiters and final punctuation around it, in normal form C."""
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
    depth = 0
    for match in _BRACE.finditer(text):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if depth < 0:
            return False
    return depth == 0
