r"""Final answers: finds them in solutions and compares them with the right one, by text alone.

`final_answer.py` finds the final answer in a solution. There are four kinds of answer:

    exact   text in Unicode's normal form C, with single spaces and without final periods
    number  a rational: 18, 18.0, 36/2 and 1.8e1 are equal, 0.33 and 1/3 are not
    math    a LaTeX expression, compared by the library math-verify
    choice  a letter from A to E, in either case

Decimals are exact: neither 1/3 nor 0.333 equals a right answer of 0.33. The labels of GSM8K's model
solutions need no rounding: its right answers are integers, and comparing the last lines as
rationals gives every label.
"""

import functools
import unicodedata

from expert_iter.tasks.words.answers import choice, final_answer, mathematics, number
from expert_iter.tasks.words.answers.final_answer import Final

ANSWER_TYPES = ("exact", "number", "math", "choice")

_FAULTS = {
    "exact": "has no text",
    "number": "is not one plain number, such as 18, -1,234.50 or 3/4",
    "math": f"is not an expression of 1 to {mathematics.MOST_CHARACTERS} characters with balanced "
    "braces",
    "choice": "is not a letter from A to E",
}


def proposed(solution: str, kind: str) -> str | None:
    """The final answer of a solution, for majority votes: equal answers give equal strings.

    For kind math this holds only for numbers, and for expressions that differ in spelling alone.
    None if the solution has no readable answer. It never raises.
    """
    return final(solution, kind).answer


def agrees(gold: str, solution: str, kind: str) -> bool:
    r"""Whether the final answer of a solution equals `gold`.

    False if either cannot be read. It never raises. It has no time limit, so that any thread can
    call it; a hostile expression of kind math can take long.

    Args:
      gold: a bare answer, such as "18", "\frac{1}{2}" or "B".
      solution: a finished solution.
      kind: one of `ANSWER_TYPES`.
    """
    right, found = _read(gold, kind), final(solution, kind)
    if right is None or found.answer is None:
        return False
    if right == found.answer or kind != "math":
        return right == found.answer
    return mathematics.equal(gold, found.text)


def final(solution: str, kind: str) -> Final:
    """The final answer of a solution, as text and as read."""
    found = final_answer.final(solution, kind, functools.partial(_read, kind=kind))
    return found or Final("", _LAST[kind](solution))


def check_gold(gold: str, kind: str) -> None:
    """Raises ValueError, with the reason, if `gold` is not an answer of this kind.

    Does not parse an answer of kind math, which would take milliseconds.
    """
    if _read(gold, kind) is None:
        raise ValueError(f"the answer {gold[:40]!r} {_FAULTS[kind]}")


def _collapsed(text: str) -> str | None:
    return " ".join(unicodedata.normalize("NFC", text).split()).rstrip(". ") or None


_READERS = {
    "exact": _collapsed,
    "number": number.read,
    "math": mathematics.canonical,
    "choice": choice.read,
}
_LAST = {"number": number.last, "choice": choice.last}


def _read(text: str, kind: str) -> str | None:
    if kind not in _READERS:
        raise ValueError(f"{kind!r} is none of {', '.join(ANSWER_TYPES)}")
    return _READERS[kind](text)
