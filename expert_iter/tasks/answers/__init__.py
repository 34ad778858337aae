r"""Final answers: found in a written solution, and compared with the right one, by text alone.

Four kinds of answer; `place.py` says where in a solution the final answer stands.

    exact   text; blanks are collapsed, final periods are dropped, case is kept
    number  equal as rationals: 18, 18.0, 36/2 and 1.8e1 are one number, 0.33 and 1/3 are two
    math    a LaTeX expression, compared by the library math-verify
    choice  a letter from A to E, in either case

Decimals count exactly as written: a right answer of 0.33 is matched neither by 1/3 nor by 0.333.
The labels of GSM8K's model solutions ask for no rounding: its right answers are whole, and each
label is what comparing the last lines as rationals gives.
"""

from expert_iter.tasks.answers import choice, mathematics, number
from expert_iter.tasks.answers.place import final_text, last_line

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
    text = final_text(solution, kind)
    if text is None and kind == "number":
        return number.last(solution)
    if text is None and kind == "choice":
        return choice.last(solution)
    return _canonical(last_line(solution) if text is None else text, kind)


def agrees(gold: str, solution: str, kind: str) -> bool:
    r"""Whether the final answer of a solution is `gold`, a bare answer ("18", "\frac{1}{2}", "B").

    False if either cannot be read. Never raises. Of kind math an expression can be made to take
    long: no time limit is set here, so that any thread can call this.
    """
    right, answer = _canonical(gold, kind), proposed(solution, kind)
    if right is None or answer is None:
        return False
    if right == answer or kind != "math":
        return right == answer
    text = final_text(solution, kind)
    return mathematics.equal(gold, last_line(solution) if text is None else text)


def check_gold(gold: str, kind: str) -> None:
    """Raises ValueError, saying what is wrong, if no answer of this kind can be read from `gold`.

    An answer of kind math is not parsed, which would take milliseconds.
    """
    if _canonical(gold, kind) is None:
        raise ValueError(f"the answer {gold[:40]!r} {_FAULTS[kind]}")


def _canonical(text: str, kind: str) -> str | None:
    if kind == "number":
        return number.read(text)
    if kind == "choice":
        return choice.read(text)
    if kind == "math":
        return mathematics.canonical(text)
    if kind == "exact":
        return " ".join(text.split()).rstrip(". ") or None
    raise ValueError(f"{kind!r} is none of {', '.join(ANSWER_TYPES)}")
