r"""Final answers: found in a written solution, and compared with the right one, by text alone.

Four kinds of answer; `final_answer.py` says where in a solution the final answer stands.

    exact   text; blanks are collapsed, final periods dropped, Unicode in normal form C, case kept
    number  equal as rationals: 18, 18.0, 36/2 and 1.8e1 are one number, 0.33 and 1/3 are two
    math    a LaTeX expression, compared by the library math-verify
    choice  a letter from A to E, in either case

Decimals count exactly as written: a right answer of 0.33 is matched neither by 1/3 nor by 0.333.
The labels of GSM8K's model solutions ask for no rounding: its right answers are whole, and each
label is what comparing the last lines as rationals gives.
"""

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
    """The final answer that a solution proposes, in a form for majority votes.

    Equal answers give equal strings: always for exact, number and choice, and for math where the
    expressions are numbers or differ in spelling alone. None if none can be read. Never raises,
    whatever the text is.
    """
    return final(solution, kind).answer


def agrees(gold: str, solution: str, kind: str) -> bool:
    r"""Whether the final answer of a solution is `gold`, a bare answer ("18", "\frac{1}{2}", "B").

    False if either cannot be read. Never raises. Of kind math an expression can be made to take
    long: no time limit is set here, so that any thread can call this.
    """
    right, found = _read(gold, kind), final(solution, kind)
    if right is None or found.answer is None:
        return False
    if right == found.answer or kind != "math":
        return right == found.answer
    return mathematics.equal(gold, found.text)


def final(solution: str, kind: str) -> Final:
    """The final answer of a solution: its text, and what is read from it."""
    if kind not in _READERS:
        raise ValueError(f"{kind!r} is none of {', '.join(ANSWER_TYPES)}")
    found = final_answer.final(solution, kind, _READERS[kind])
    return found or Final("", _LAST[kind](solution))


def check_gold(gold: str, kind: str) -> None:
    """Raises ValueError, saying what is wrong, if no answer of this kind can be read from `gold`.

    An answer of kind math is not parsed, which would take milliseconds.
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
