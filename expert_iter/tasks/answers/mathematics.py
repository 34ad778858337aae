r"""LaTeX expressions: one spelling for votes, and equality by the library math-verify."""

import logging
import re

from expert_iter.tasks.answers import number

MOST_CHARACTERS = 400

_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_DELIMITERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))
_SPELLINGS = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\left\b|\\right\b|\\[!,;: ]", " "),
        (r"\\[dt]frac\b", r"\\frac"),
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
    from math_verify import parse, verify  # takes a second

    # Without a limit of its own it warns, once, that one should be set outside.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    try:
        right, found = (parse(f"${_inner(text)}$", parsing_timeout=None) for text in (gold, answer))
        return bool(verify(right, found, timeout_seconds=None))
    except Exception:  # whatever a malformed expression sets off in a library of parsers
        return False


def _inner(text: str) -> str:
    text = text.strip().removesuffix(".").strip()
    for left, right in _DELIMITERS:
        inner = text.removeprefix(left).removesuffix(right)
        if len(inner) == len(text) - len(left) - len(right) and left not in inner:
            return inner.strip()
    return text


def _balanced(text: str) -> bool:
    depth = 0
    for match in _BRACE.finditer(text):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if depth < 0:
            return False
    return depth == 0
