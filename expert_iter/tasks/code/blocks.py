"""Finds the program in a solution: one of its fenced blocks, or all of it."""

import ast
import itertools
import re
import warnings
from collections.abc import Iterator
from typing import NamedTuple

MOST_CHARACTERS = 20_000  # of code that is parsed here; the sandbox runs code of any length
_MOST_ENDS = 8  # fences that are tried as a block's end: bounds the time for hostile text

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
# Marks of block quotes and list items, then a fence as in CommonMark.
_FENCE = re.compile(
    r"(?P<quotes>(?:[ \t]*>)*)"
    r"(?P<margin>(?:[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t])*[ \t]*)"
    r"(?P<marks>`{3,}(?!.*`)|~{3,})"
    r"[ \t]*(?P<info>.*)"
)
_PYTHON = re.compile(r"\{?[ \t]*\.?i?(?:python|py)[\d.]*(?![\w+.-])", re.IGNORECASE)
# A definition, or the indented body of a function; not a call that shows its use.
_DEFINES = re.compile(
    r"^(?:async[ \t]+)?(?:def|class)\b|^\w+[ \t]*=[ \t]*lambda\b|\A\s*^[ \t]+\S", re.MULTILINE
)


class _Block(NamedTuple):
    """A fenced block.

    Attributes:
      code: its lines, without quote marks and the fence's indentation.
      tagged: whether the fence names Python. Otherwise it names no language.
      closed: whether a closing fence ends the block.
    """

    code: str
    tagged: bool
    closed: bool


def code_of(solution: str) -> str:
    """The program in a solution: the last block of Python, or all of a solution without one.

    A block whose fence names Python comes before one whose fence names nothing, then one that
    defines something before one that does not, then a closed one before an unclosed one. Blocks of
    other languages and interactive sessions (`>>>`) do not count.
    """
    if _has_long_string(solution) and parse_program(solution):
        return solution  # any fences are inside a string
    blocks = [block for block in _blocks(solution) if not block.code.lstrip().startswith(">>>")]
    if not blocks:
        return solution
    return max(
        reversed(blocks),
        key=lambda block: (block.tagged, bool(_DEFINES.search(block.code)), block.closed),
    ).code


def parse_program(code: str) -> ast.Module | None:
    """The syntax tree of a program or of a function's body; None if it is neither, or too long."""
    # HumanEval asks for the body of a function, which parses below any head.
    return parse(code) or parse(f"if True:\n{code}")


def parse(code: str) -> ast.Module | None:
    """The syntax tree; None if `code` does not parse or is longer than MOST_CHARACTERS."""
    if len(code) > MOST_CHARACTERS:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # for example about an unknown escape in a string
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _has_long_string(code: str) -> bool:
    return '"""' in code or "'''" in code


def _blocks(solution: str) -> Iterator[_Block]:
    """The blocks that may be Python, in order."""
    lines = _LINE.findall(solution)
    at = 0
    while at < len(lines):
        fence = _FENCE.match(lines[at])
        at += 1
        if fence is None:
            continue
        info = fence["info"].strip()
        tagged = bool(_PYTHON.match(info))
        ends = _ends(lines, at, fence)
        end, after = next(ends)
        if tagged or not info:
            code = _unindented(lines[at:end], fence)
            # A fence inside a docstring does not end the block: try later ones until it parses.
            if _has_long_string(code) and not parse_program(code):
                for later_end, later_after in itertools.islice(ends, _MOST_ENDS):
                    longer = _unindented(lines[at:later_end], fence)
                    if parse_program(longer):
                        code, end, after = longer, later_end, later_after
                        break
            yield _Block(code, tagged, end < len(lines))
        at = after


def _ends(lines: list[str], start: int, fence: re.Match) -> Iterator[tuple[int, int]]:
    """Each possible end of the block that `fence` opens, and the line after it; the last is the end
    of the text.

    A block ends with its block quote, or at a fence of the same kind that is at least as long and
    indented by at most three columns more.
    """
    quotes = _quotes(fence)
    marks = fence["marks"]
    closing = re.compile(rf"([ \t]*){marks[0]}{{{len(marks)},}}[ \t\r]*$")
    for at in range(start, len(lines)):
        quoted = quotes.match(lines[at])
        if quoted is None:
            yield at, at
            return
        closed = closing.match(lines[at], quoted.end())
        if closed and _width(closed[1]) <= _width(fence["margin"]) + 3:
            yield at, at + 1
    yield len(lines), len(lines)


def _unindented(lines: list[str], fence: re.Match) -> str:
    """The lines without the block quote and the indentation of their fence.

    Code that starts further left than its fence loses only the indentation of its first line.
    """
    quotes = _quotes(fence)
    lines = [line[quotes.match(line).end() :] for line in lines]
    first = next((line for line in lines if line.strip()), "")
    margin = min(_width(fence["margin"]), _width(_indentation(first)))
    return "".join(_cut(line, margin) for line in lines)


def _cut(line: str, columns: int) -> str:
    """The line with its indentation cut by `columns`."""
    at = 0
    while columns > 0 and line[at : at + 1] in (" ", "\t"):
        columns -= _width(line[at])
        at += 1
    return line[at:]


def _quotes(fence: re.Match) -> re.Pattern:
    """Matches the same number of block quote marks as the fence has."""
    return re.compile(rf"(?:[ \t]*>){{{fence['quotes'].count('>')}}}")


def _indentation(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" \t"))]


def _width(text: str) -> int:
    return len(text.expandtabs(4))
