r"""Rewrites LaTeX answers so that math-verify's parser reads all of them, or rejects them.

The parser itself drops what looks like a unit (the t of 7t), primes, dots, and the base of a number
(34_7), and reads a time (6:30) as a ratio.
"""

import re

from expert_iter.tasks.words.answers.number import SIZES

# Dots, numbers in another base, times.
_NOT_PARSED = re.compile(
    r"\\(?:[lc]|d[a-z])?dots|\\dots[a-z]?|…|\.\.\.|[0-9][})\s]*_|\b[0-9]{1,2}:[0-9]{2}\b"
)
_SPELLINGS = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(?<!\\)(?:\$|\\[()\[\]])|(?<!\\)~|\s+", " "),
        (r"\\(?:boldsymbol|bm)(?![A-Za-z])", r"\\mathbf"),
        (r"\\(?:mbox|mathrm|textrm|textnormal)(?![A-Za-z])", r"\\text"),
        (r"\\text\{\s*(?:percent(?:age)?|pct)\s*\}", r"\\%"),
    )
]
_PRIMES = re.compile("['\"’”]+")
_SIZE = re.compile(rf"(?:\\text\{{\s*|(?<=[0-9])\s+)({'|'.join(SIZES)})(?=[\s}}]|$)\s*(?:\}})?")

_POWER = r"(?:\^(?:[0-9]|\{[0-9]\}))?$"
_UNIT = re.compile(r"(?<=[\w})\]!|])(?:\s|\\[,;: !])*\\text\{([A-Za-z\s./-]*)\}" + _POWER)
_BARE_UNIT = re.compile(
    r"(?<=[0-9}])\s*(?:(?:square|cubic|sq\.?|cu\.?)\s+)?(?:[cmk]m|kg|m[gl]|ft|yd|lbs?|oz|hrs?|mins?|"
    r"sec|mph|inch(?:es)?|foot|feet|yards?|miles?|(?:centi|milli|kilo)?met(?:er|re)s?|"
    r"(?:kilo)?grams?|lit(?:er|re)s?|pounds?|ounces?|dollars?|cents?|degrees?|seconds?|minutes?|"
    rf"hours?|days?|weeks?|months?|years?|units?|points?){_POWER}"
)
# Words after a value that are not units.
_NO_UNIT = frozenset(
    "or and not is are if when where only plus minus times over squared cubed dozen half halves "
    "third thirds quarter quarters point least most more less fewer than below above between to "
    "mod modulo base factorial remainder wrong a p am pm".split()
)


def parsable(text: str) -> str | None:
    """The expression without its unit, on one line; None if the parser would misread it."""
    if _NOT_PARSED.search(text):
        return None
    for pattern, replacement in _SPELLINGS:
        text = pattern.sub(replacement, text)
    text = _PRIMES.sub(_prime, text.strip())
    text = _SIZE.sub(lambda match: rf"\cdot {SIZES[match[1]]}", text)
    return _without_unit(text)


def _prime(match: re.Match) -> str:
    count = sum(2 if mark in '"”' else 1 for mark in match[0])
    return "^{" + r"\prime" * count + "}"


def _without_unit(text: str) -> str:
    unit = _UNIT.search(text)
    if unit is None:
        return _BARE_UNIT.sub("", text)
    value, words = text[: unit.start()], re.findall("[a-z]+", unit[1].lower())
    counts = re.search("[0-9]", value) or r"\text" not in value
    return value if counts and not _NO_UNIT.intersection(words) else text
