"""Reads answers that are a letter from A to E, as in "B", "(B)", "b. 4" or "B: Paris"."""

import re

_COMMANDS = re.compile(r"\\(?:text|mathrm|textbf|mathbf)\{([^{}]*)\}")
_ALONE = re.compile(r"[(\[]?\s?([A-Ea-e])\s?[)\]]?[.:]?")
_LEADING = re.compile(
    r"(?:(?i:option|choice)\s+)?(?:[(\[]([A-Ea-e])[)\]]|([A-Ea-e])\)|([a-e])[.:](?=\s+(?!m\.))|"
    r"([A-E])(?:[.:](?!\w)|(?=\s+(?:because|since|as)\b)))"
)
_ANOTHER = re.compile(r"\s*(?:or|and|[,/&])?\s*(?:[(\[]?[A-Ea-e][)\].:]|[A-E]\s*$)")
_OR_ANOTHER = re.compile(
    r"\b(?:or|and)\s+(?:option\s+)?(?:[(\[][A-Ea-e][)\]]|[A-Ea-e][).:]\s|[A-E]\b(?!\s+[a-z]))"
)
# "A" before a lower-case word is an article, unless the word can follow an answer.
_ARTICLE = r"(?!(?<=A)\s+(?!(?:because|since|as|is|or|and)\b)[a-z])"
_STANDING = re.compile(
    rf"(?<![\w.'’-])(?:[(\[]([A-Ea-e])[)\]]|([A-E])(?![\w'’-]|\.\w){_ARTICLE}|([a-e])\))"
)
_DELIMITED = re.compile(
    r"\*\*([A-E])\*\*|(?<!\w)[(\[]([A-Ea-e])[)\]]|(?<![\w(.'’-])([A-Ea-e])\)|"
    r"(?<![\w.'’-])([A-E])(?:\.(?=\s|$)|\s*\Z)"
)
_MOST_LINE = 1200  # characters; a longer line is not an answer


def read(text: str) -> str | None:
    """The only letter in an answer, in upper case; None if there are several or none."""
    if len(text) > _MOST_LINE:
        return None
    text = _COMMANDS.sub(r"\1", text).strip(" \t\n$*`\"'\u00a0")
    if match := _ALONE.fullmatch(text):
        return match[1].upper()
    if match := _LEADING.match(text):
        more = _ANOTHER.match(text, match.end()) or _OR_ANOTHER.search(text, match.end())
        return None if more else _letter(match)
    letters = {_letter(match) for match in _STANDING.finditer(text)}
    return letters.pop() if len(letters) == 1 else None


def last(text: str) -> str | None:
    """The last letter in a text that stands alone, in upper case; None if there is none."""
    if match := _ALONE.fullmatch(text.strip(" \t\n*")):
        return match[1].upper()
    matches = list(_DELIMITED.finditer(text))
    return _letter(matches[-1]) if matches else None


def _letter(match: re.Match) -> str:
    return next(filter(None, match.groups())).upper()
