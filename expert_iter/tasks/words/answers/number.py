r"""Reads numbers, as people and language models write them, as exact rationals.

"18", "-3", "$1,234.50", "18 dollars.", "3/4", "1 1/2", "1e3", "9 * 2 = 18" and "\frac{3}{4}" are
numbers. A unit is ignored, and so is a percent sign: 50% is 50. 5 million is 5,000,000. Two numbers
("5 or 6", "10:30", "1,23"), a calculation ("10²", "3 + 4", "18k", "2\pi"), a bound ("> 5") and more
than 300 characters are not a number. Calculator annotations, such as <<9*2=18>>, are ignored.
"""

import functools
import re
from fractions import Fraction

MOST_CHARACTERS = 300  # of a number, and largest exponent: bounds its memory
_MOST_LINE = 1200  # characters; a longer line is not an answer

_DECIMAL = (
    r"(?:(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
)
_NUMBER = re.compile(
    rf"""
    (?P<sign>(?:(?<![\w)\]}}%])[-+])?)  # after an operand it is an operator
    (?:[$€£¥]\s?(?P<late_sign>-?))?
    (?<!\w)
    (?:
        (?P<whole>[0-9]+)[ ]+(?P<part>[0-9]+/[0-9]+)
      | (?P<top>{_DECIMAL})(?:\s?/\s?(?P<bottom>{_DECIMAL}))?
    )
    """,
    re.VERBOSE,
)
SIZES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_SIZE = re.compile(rf"[\s-]*({'|'.join(SIZES)})\b", re.IGNORECASE)

_WHOLE = re.compile(r"-?[0-9]{1,15}")

# Replacements that give one spelling, applied in this order.
_SPELLINGS = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"<<[^<>\n]*>>", ""),
        ("[\u2010-\u2013\u2212\ufe63\uff0d]", "-"),
        (r"\{,\}", ","),
        (r"\\!", ""),
        ("½", r"\\frac12"),
        ("¼", r"\\frac14"),
        ("¾", r"\\frac34"),
        ("\u2044", "/"),
        # Thin and non-breaking spaces between groups of digits.
        (r"(?<=[0-9])(?:[\u00a0\u2009\u202f]|\\,)(?=[0-9]{3}(?![0-9]))", ","),
        (r"[^\S\n]|\\[,; ()\[\]]", " "),
        (r"(?<=[0-9])\\[dt]?frac", r" \\frac"),
        (r"\\[dt]?frac ?(?:\{([0-9]+)\}|([0-9])) ?(?:\{([0-9]+)\}|([0-9]))", r"\1\2/\3\4"),
        (r"\\(?:text|mathrm|textbf|mathbf)\{([^{}]*)\}", r" \1 "),
        (r"\\([$%])", r"\1"),
        (r"(?<![\w)*])\*\*([^*\n]*)\*\*(?![\w(*])", r"\1"),  # bold, not a power
    )
]

# Text before a number that makes it part of a calculation, a time of day and the like.
_TIED = re.compile(r"[0-9)]\s*[-+*/×÷^]\s*$|[0-9][.,:]$|[\w)][-+*/×÷^]$")
_UNFINISHED = re.compile(r"\s*[-+*/×÷^=(]+\s*")
_BOUND = re.compile("[<>≤≥≠±]|!=")
# Text beside a number, or directly after it, that changes its value.
_CHANGES = re.compile(r"[*^+\\√π∞×÷|{}]|/(?!\s?[A-Za-z]{2})")
_CHANGES_CLOSE = re.compile(r"[kKMB]\b|[A-Za-z_]+[0-9]|[²³¹⁰⁴-⁹]")
_FIRST_SENTENCE = re.compile(r"([^0-9]*[0-9].*?)[.!?;](?:\s|$)")


@functools.lru_cache(4096)  # a right answer is compared with many solutions
def read(text: str) -> str | None:
    """The only number in an answer, as in "18" or "3/2"; None if there are several or none."""
    if len(text) > _MOST_LINE:
        return None
    if _WHOLE.fullmatch(text):  # a fast path for most answers
        return str(int(text))
    text = _spelt(text)
    if sentence := _FIRST_SENTENCE.match(text):
        text = sentence[1]
    if _BOUND.search(text):
        return None
    text = re.split("[=≈]", text)[-1].strip()
    text = re.sub(r"^-\s+", "-", text)
    matches = list(_NUMBER.finditer(text))
    if len(matches) != 1:
        return None
    before, after = text[: matches[0].start()], text[matches[0].end() :]
    if _CHANGES.search(before) or _CHANGES.search(after):
        return None
    return _value(matches[0], before, after)


def bare(text: str) -> str | None:
    """The number that is the whole text; None if there is other text."""
    match = _NUMBER.fullmatch(_spelt(text).strip())
    return _value(match, "", "") if match else None


def last(text: str) -> str | None:
    """The last number in a text; None if there is none, or a calculation follows it."""
    text, match = _spelt(text), None
    for found in _NUMBER.finditer(text):
        match = found
    if match is None or _UNFINISHED.fullmatch(text, match.end()):
        return None
    before = text[max(0, match.start() - 20) : match.start()]
    return _value(match, before, text[match.end() : match.end() + 40])


def _spelt(text: str) -> str:
    for pattern, replacement in _SPELLINGS:
        text = pattern.sub(replacement, text)
    return text


def _value(match: re.Match, before: str, after: str) -> str | None:
    """The matched number in lowest terms; None if the text around it changes its value."""
    if len(match[0]) > MOST_CHARACTERS or _TIED.search(before) or _CHANGES_CLOSE.match(after):
        return None
    try:
        if match["whole"]:
            part = Fraction(match["part"])
            value = int(match["whole"]) + part if part < 1 else None
        else:
            value = _decimal(match["top"]) / _decimal(match["bottom"] or "1")
    except (ValueError, ZeroDivisionError):
        return None
    if value is None:
        return None
    for _ in range(2):  # as in "2 hundred thousand"
        if size := _SIZE.match(after):
            value *= SIZES[size[1].lower()]
            after = after[size.end() :]
    return str(-value if "-" in (match["sign"], match["late_sign"]) else value)


def _decimal(text: str) -> Fraction:
    """The value of a decimal. Raises ValueError for an exponent that would exhaust memory."""
    exponent = text.lower().partition("e")[2]
    if len(exponent) > 4 or abs(int(exponent or 0)) > MOST_CHARACTERS:
        raise ValueError(exponent)
    return Fraction(text.replace(",", ""))
