"""Answers that reasoning-gym's scorers would run as Python.

Some scorers give the text of an answer to `eval`, or to SymPy's parser, which calls `eval`. The
text comes from a network. So what could call anything else than an elementary function, or name
the right answer, never reaches these scorers.
"""

import re

# By how their `score_answer` reads an answer, in reasoning-gym 0.1.25.
_EVAL = {"binary_matrix", "n_queens", "spiral_matrix", "string_insertion"}
_SYMPY = {
    "countdown",
    "intermediate_integration",
    "polynomial_multiplication",
    "puzzle24",
    "simple_integration",
}

_ALPHABET = re.compile(r"[A-Za-z0-9+\-*/^(),.\s]*", re.ASCII)
_WORD = re.compile(r"[A-Za-z]\w*", re.ASCII)
_ATTRIBUTE = re.compile(r"\.\s*[A-Za-z]", re.ASCII)
_FUNCTIONS = set(
    "Abs acos acosh acot asin asinh atan atanh cos cosh cot csc exp ln log pi sec sin sinh sqrt "
    "tan tanh".split()
)


def is_safe(answer: str, dataset: str) -> bool:
    """Whether the scorer of a data set may see this answer.

    `eval` is meant for lists of numbers and capital letters. Without parentheses nothing can be
    called, and without small letters no variable of the scorer, such as the right answer, be named.
    SymPy gets numbers, symbols of one letter and elementary functions.
    """
    if dataset in _EVAL:
        return answer.isascii() and not re.search("[a-z(]", answer)
    if dataset in _SYMPY:
        words = _WORD.findall(answer)
        return bool(
            _ALPHABET.fullmatch(answer)
            and not _ATTRIBUTE.search(answer)
            and all(len(word) == 1 or word in _FUNCTIONS for word in words)
        )
    return True
