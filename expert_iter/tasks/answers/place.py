r"""Where in a written solution its final answer stands.

The first of these that the solution has decides, and the last one of its kind:

1. `####` (GSM8K): the line after it. Where a \boxed{...} follows, `####` was but a heading: the box
   counts.
2. \boxed{...} with balanced braces. A last box that is never closed is no answer.
3. "answer is", "answer:", or a last line that begins with "A:", as the model solutions published
   with GSM8K end (not for choices, where A: names an option): the rest of the line.

Where the rest of the line is empty, the next line that is not counts. Without any of these, each
kind has a rule of its own: the last number, the last letter that stands alone, or the last line.
"""

import re

_BOX = r"\boxed"
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_BOLD = re.compile(r"\*\*[^*]*\*\*")
_MARK = re.compile(r"\banswer(?:\s+is)?\s*(?:\*+\s*)?:(?:\*\*)?|\banswer\s+is\b", re.IGNORECASE)


def final_text(solution: str, kind: str) -> str | None:
    """The text of the final answer: '' if there is none where it should be, None if no mark is."""
    solution = solution.strip()
    _, hashes, tail = solution.rpartition("####")
    if _BOX in tail:
        return _boxed(tail)
    if hashes:
        return _first_line(tail)
    end = 0
    if "answer" in solution.lower():  # most solutions have none, and searching is slow
        for match in _MARK.finditer(solution):
            end = match.end()
    line = last_line(solution)
    if kind != "choice" and line.startswith("A:") and end <= len(solution) - len(line):
        return _first_line(line.removeprefix("A:"))
    return _first_line(solution[end:]) if end else None


def last_line(text: str) -> str:
    """The last line that is not blank, or ''."""
    return text.strip().rpartition("\n")[2].strip()


def _first_line(text: str) -> str:
    """The first line that is not blank, or ''; without a bold type that ends with it."""
    line = text.strip().partition("\n")[0].strip()
    if line.endswith("**") and (line.count("**") == 1 or _BOLD.fullmatch(line)):
        return line.strip("* ")
    return line


def _boxed(text: str) -> str:
    r"""What is in the last \boxed{...}, or '' if its braces do not balance; \{ is not a brace."""
    text = text.rpartition(_BOX)[2].lstrip()
    if not text.startswith("{"):
        return ""
    depth = 0
    for match in _BRACE.finditer(text):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if depth == 0:
            return text[1 : match.start()]
    return ""
