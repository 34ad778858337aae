r"""Finds the final answer in a solution.

The first of these rules that applies decides:

1. `####` (GSM8K): the rest of the line after the last one. If a box follows, `####` was a heading
   and the box counts. It was also a heading if its line has no answer and more lines follow.
2. The last \boxed{...} or \fbox{...} that is not empty. Without braces the next token counts, as in
   TeX. If the last box is not closed there is no answer.
3. "answer is", "answer:", or a last line that begins with "A:" (except for choices, where A: names
   an option): the rest of the line after the last such mark that an answer follows. "The answer is
   correct" is not a mark.
4. By kind: the last number, the last letter that stands alone, or the last line. There is no answer
   if the text ends at a mark, or has "5 or 6" after one.

If the rest of a line is empty, the next line that is not empty counts. Display math, and a fenced
block, count as one line.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

_MOST_MARKS = 16  # the last ones; bounds the time for hostile text
_HASHES = re.compile("#{4,}")
_BOLD = re.compile(r"\*\*[^*]*\*\*")

# A remark is not an answer: "the answer is correct", "the answer is not obvious".
_REMARK = (
    r"\W{0,3}(?:correct|right|wrong|incorrect|not|verified|confirmed|consistent|reasonable|"
    r"obvious|clear|unclear|unknown)\b(?!\W*\d)"
)
_MARK = re.compile(
    rf"\banswer(?:\s+is)?\s*(?:\*+\s*)?:(?:\*\*)?|\banswer\s+is\b(?!{_REMARK})", re.IGNORECASE
)
# Text that shows that an answer of the kind was intended, even if it cannot be read.
_TENS = "ten|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
_MEANT = {
    "number": re.compile(
        r"[0-9½¼¾]|\\[(\[]|\$|\\begin|\b(?:zero|one|two|three|four|five|six|seven|eight|nine|eleven|twelve|\w+teen|"
        rf"hundred|thousand|(?:{_TENS})(?:-\w+)?)\b",
        re.IGNORECASE,
    ),
    "choice": re.compile(r"(?<!\w)[A-Ea-e](?!\w)"),
    "math": re.compile(r"[0-9\\=^_+*/<>$]"),
    "exact": re.compile(r"\S"),
}

_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*")
_PLAIN_BOX = re.compile(r"\\boxed\{([^{}\\\n]+)\}(?!.*\\f?box)", re.DOTALL)
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
# TeX would box only the first digit of 18, which nobody intends: that is not an answer.
_TOKEN = re.compile(r"\\([A-Za-z]+)|([A-Za-z])(?![A-Za-z0-9])|([0-9])(?![A-Za-z0-9]|[.,][0-9])")
_ARGUMENT = re.compile(r"\\([A-Za-z]+)|[^\s{}\\]")
_ARGUMENTS = {"frac": 2, "dfrac": 2, "tfrac": 2, "binom": 2, "sqrt": 1, "text": 1, "mathrm": 1}
_ARGUMENTS |= {"mathbf": 1, "textbf": 1, "overline": 1}
_BLANK = re.compile(r"\s*")

_ROWS = r"(?:align|aligned|eqnarray|equation|gather|gathered|multline|split)\*?"
_MOST_DISPLAY = 1200  # characters


def _block(opening: str, inside: str, closing: str) -> str:
    """A pattern for a block without blank lines and without `inside`."""
    content = rf"\s*((?:(?!{inside}|\n[ \t]*\n).){{0,{_MOST_DISPLAY}}}?)\s*"
    return opening + content + closing


_DISPLAY = re.compile(
    "|".join(
        (
            _block(r"(?<!\\)\\\[", r"(?<!\\)\\[\[\]]", r"(?<!\\)\\\]"),
            _block(r"(?<!\\)\$\$", r"\$\$", r"\$\$"),
            _block(rf"\\begin\{{({_ROWS})\}}", r"\\(?:begin|end)\{\3\}", r"\\end\{\3\}"),
        )
    ),
    re.DOTALL,
)
_FENCED = re.compile(_block(r"^[ \t]*```\w*$", "```", r"```[ \t]*$"), re.DOTALL | re.MULTILINE)
_WRAPPING = re.compile(rf"\\(?:begin|end)\{{{_ROWS}\}}|\\(?:label|tag)\{{[^{{}}]*\}}|\\nonumber")
# A formula at the end of a sentence, after a verb or "=".
_CONCLUSION = re.compile(
    r"[^$\\]*(?:\b(?:is|are|be|equals?|gets?|gives?|have|has|obtain|find|thus|so|hence|therefore)"
    r"|[:=])\s*(\$[^$]+\$|\\\((?:(?!\\[()]).)+\\\))[.,;!]?",
    re.IGNORECASE,
)


class Final(NamedTuple):
    """A final answer.

    Attributes:
      text: on one line.
      answer: as read from the text; None if it cannot be read.
    """

    text: str
    answer: str | None


def final(solution: str, kind: str, read: Callable[[str], str | None]) -> Final | None:
    """The final answer of a solution, by the rules above.

    Args:
      solution: any text.
      kind: one of `answers.ANSWER_TYPES`.
      read: returns the answer of this kind in a text, or None.

    Returns:
      The final answer. None if no answer is marked and the kind is number or choice: their fourth
      rule is in `answers.final`.
    """
    # Most solutions end with a plain answer after hashes or in a box: these need no more.
    _, hashes, tail = solution.rpartition("####")
    if hashes and not ("\\" in tail or "`" in tail or "$$" in tail):
        line = _first_line(tail)
        if (answer := read(line)) is not None:
            return Final(line, answer)
    box = None if hashes else _PLAIN_BOX.match(solution, max(0, solution.rfind("\\boxed{")))
    if box and not box[1].isspace():
        return Final(box[1], read(box[1]))
    solution = _flattened(solution.strip())
    # Looking for one character is several times as fast as for a text.
    if "#" in solution and (found := _after_hashes(solution, kind, read)):
        return found
    if "\\" in solution and (box := _last_box(solution)) is not None:
        return Final(box, read(box))
    return _after_words(solution, kind, read)


def has_box(text: str) -> bool:
    r"""Whether there is a \boxed or \fbox."""
    return _last_box(text) is not None


def last_line(text: str) -> str:
    """The last line that is not blank, or ''."""
    return text.strip().rpartition("\n")[2].strip()


def brace_depths(text: str, start: int = 0) -> Iterator[tuple[int, int]]:
    r"""How many groups are open after each brace from `start`, and where it ends.

    \{ is not a brace.
    """
    depth = 0
    for match in _BRACE.finditer(text, start):
        if match[0] in "{}":
            depth += 1 if match[0] == "{" else -1
            yield depth, match.end()


def _after_hashes(solution: str, kind: str, read: Callable[[str], str | None]) -> Final | None:
    for segment in reversed(_HASHES.split(solution)[1:]):
        if (box := _last_box(segment)) is not None:
            return Final(box, read(box))
        line = _first_line(segment)
        answer = read(line)
        if answer or _MEANT[kind].search(line) or "\n" not in segment.strip():
            return Final(line, answer)
    return None


def _after_words(solution: str, kind: str, read: Callable[[str], str | None]) -> Final | None:
    """The third rule, and the fourth for exact and math."""
    last = last_line(solution)
    named = kind != "choice" and last.startswith("A:")
    if named and "answer" not in last.lower():  # the last mark: those before need no search
        line = _first_line(last[len("A:") :])
        if (answer := read(line)) is not None:
            return Final(line, answer)
    ends = []
    if "answer" in solution.lower():  # most solutions have none, and the search is slow
        ends = [match.end() for match in _MARK.finditer(solution)][-_MOST_MARKS:]
    if named and (not ends or ends[-1] <= len(solution) - len(last)):
        ends.append(len(solution) - len(last) + len("A:"))
    for end in reversed(ends):
        line = _first_line(solution[end:])
        if (answer := read(line)) is not None:
            return Final(line, answer)
    if ends and not _first_line(solution[ends[-1] :]):
        return Final("", None)
    if any(_MEANT[kind].search(_first_line(solution[end:])) for end in ends):
        return Final("", None)
    if kind in ("number", "choice"):
        return None
    conclusion = _CONCLUSION.fullmatch(last) if kind == "math" else None
    text = conclusion[1] if conclusion else last
    return Final(text, read(text))


def _first_line(text: str) -> str:
    """The first line that is not blank, or '', without its bold type."""
    line = text.strip().partition("\n")[0].strip()
    if line.endswith("**") and (line.count("**") == 1 or _BOLD.fullmatch(line)):
        return line.strip("* ")
    return line


def _last_box(text: str) -> str | None:
    """The content of the last box; '' if it is not closed or all are empty; None without a box."""
    starts = [box.end() for box in _BOX.finditer(text)][-_MOST_MARKS:]
    if not starts:
        return None
    ends = [_end_of_argument(text, start, _TOKEN) for start in starts]
    if ends[-1] is None:
        return ""
    boxes = [text[start:end] for start, end in zip(starts, ends, strict=True) if end is not None]
    contents = (box[1:-1] if box.startswith("{") else box for box in reversed(boxes))
    return next((content for content in contents if content.strip()), "")


def _end_of_argument(text: str, start: int, token: re.Pattern) -> int | None:
    r"""The end of the group in braces at `start`, or of the token there with its arguments.

    None if there is neither, or the braces do not balance.
    """
    if not text.startswith("{", start):
        match = token.match(text, start)
        end = match and match.end()
        for _ in range(_ARGUMENTS.get(match[1], 0) if match else 0):
            end = end and _end_of_argument(text, _BLANK.match(text, end).end(), _ARGUMENT)
        return end
    return next((end for depth, end in brace_depths(text, start) if depth == 0), None)


def _flattened(text: str) -> str:
    """The text with each fenced block, and the last row of each display, on one line."""
    if "`" in text:
        text = _FENCED.sub(lambda block: " ".join(block[1].split()), text)
    if "$$" in text or ("\\" in text and ("\\[" in text or "\\begin{" in text)):
        text = _DISPLAY.sub(lambda block: f"${_last_row(block[block.lastindex])}$", text)
    return text


def _last_row(display: str) -> str:
    rows = _WRAPPING.sub("", display).strip().removesuffix("\\\\")
    if "\\begin" not in rows:  # the rows of a matrix stay
        rows = rows.rpartition("\\\\")[2].replace("&", "").strip().removeprefix("=")
    return " ".join(rows.split())
