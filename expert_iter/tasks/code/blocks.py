"""Which part of a solution is its program: one of its fenced blocks, or the whole of it."""

import ast
import itertools
import re
import warnings
from collections.abc import Iterator
from typing import NamedTuple

MOST_CHARACTERS = 20_000  # of code that is parsed here; what it does is the sandbox's affair
_MOST_ENDS = 8  # fences that are tried as a block's end, so that hostile text costs no more

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
# Block quotes and list items before a fence, then the fence as in CommonMark.
_FENCE = re.compile(
    r"(?P<quotes>(?:[ \t]*>)*)"
    r"(?P<margin>(?:[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t])*[ \t]*)"
    r"(?P<marks>`{3,}(?!.*`)|~{3,})"
    r"[ \t]*(?P<info>.*)"
)
_PYTHON = re.compile(r"\{?[ \t]*\.?i?(?:python|py)[\d.]*(?![\w+.-])", re.IGNORECASE)
# A definition, or the indented body of a function; not a call that shows how it is used.
_DEFINES = re.compile(
    r"^(?:async[ \t]+)?(?:def|class)\b|^\w+[ \t]*=[ \t]*lambda\b|\A\s*^[ \t]+\S", re.MULTILINE
)


class _Block(NamedTuple):
    code: str
    tagged: bool  # its fence names Python; else it names nothing
    closed: bool


def code_of(solution: str) -> str:
    """The program in a solution: the last block of Python, the whole where there is none.

    A block whose fence names Python goes before one whose fence names nothing, then one that
    defines something before one that does not, then a closed one before an unclosed one. Blocks of
    other languages and interactive sessions (`>>>`) are no programs.
    """
    if _has_long_string(solution) and parse_program(solution):
        return solution  # its fences, if any, are in a string
    blocks = [block for block in _blocks(solution) if not block.code.lstrip().startswith(">>>")]
    if not blocks:
        return solution
    return max(
        reversed(blocks),
        key=lambda block: (block.tagged, bool(_DEFINES.search(block.code)), block.closed),
    ).code


def parse_program(code: str) -> ast.Module | None:
    """The syntax tree of a program or of a function's body; None if it is neither, or too long."""
    # A function's body without its head, as HumanEval asks for, parses below a head of any kind.
    return parse(code) or parse(f"if True:\n{code}")


def parse(code: str) -> ast.Module | None:
    """The syntax tree; None for what does not parse or is longer than MOST_CHARACTERS."""
    if len(code) > MOST_CHARACTERS:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as one for an odd escape in a string
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _has_long_string(code: str) -> bool:
    return '"""' in code or "'''" in code


def _blocks(solution: str) -> Iterator[_Block]:
    """The blocks that may be Python, in their order."""
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
            # A fence in a docstring does not end the program: it has to parse.
            if _has_long_string(code) and not parse_program(code):
                for later_end, later_after in itertools.islice(ends, _MOST_ENDS):
                    longer = _unindented(lines[at:later_end], fence)
                    if parse_program(longer):
                        code, end, after = longer, later_end, later_after
                        break
            yield _Block(code, tagged, end < len(lines))
        at = after


def _ends(lines: list[str], start: int, fence: re.Match) -> Iterator[tuple[int, int]]:
    """Where the block that `fence` opens may end, and what follows begins; at last, the text's end.

    It ends with the block quote that it is in, or at a fence of the same kind, as long at least
    and indented by three more at most.
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
    """The lines without the block quotes and the indentation of the fence above them.

    Code that starts further left than its fence loses as much as its first line has.
    """
    quotes = _quotes(fence)
    lines = [line[quotes.match(line).end() :] for line in lines]
    first = next((line for line in lines if line.strip()), "")
    margin = min(_width(fence["margin"]), _width(_indentation(first)))
    return "".join(_cut(line, margin) for line in lines)


def _cut(line: str, columns: int) -> str:
    """The line without as many columns of its indentation."""
    at = 0
    while columns > 0 and line[at : at + 1] in (" ", "\t"):
        columns -= _width(line[at])
        at += 1
    return line[at:]


def _quotes(fence: re.Match) -> re.Pattern:
    """Matches as many marks of block quotes as are before the fence."""
    return re.compile(rf"(?:[ \t]*>){{{fence['quotes'].count('>')}}}")


def _indentation(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" \t"))]


def _width(text: str) -> int:
    return len(text.expandtabs(4))
