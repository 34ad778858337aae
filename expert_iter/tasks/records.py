"""Parsers of records: JSON lines, a JSON list, or CSV with a header.

A parser yields each record with the line where it begins, from 1. Lines end at line feeds and
carriage returns only, not at Unicode's other line ends. A parser raises DamagedRecord.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Record = dict[str, Any]

_LINE_END = re.compile(r"\r\n?|\n")
_TO_NEXT = re.compile(r"[\s,]*")
_BLANK_LINE = re.compile(r"[^\S\r\n]*(?:\r\n?|\n|\Z)")
# `csv.reader` has a limit on the length of cells, which can be changed only for the whole process.
_CELL = re.compile(r'(?:"([^"]*+(?:""[^"]*+)*+)"|(?!")([^,\r\n]*+))(,|\r\n?|\n|\Z)')


class DamagedRecord(ValueError):
    """A record is invalid. `line` is where it begins; the text is the reason."""

    def __init__(self, line: int, reason: object):
        super().__init__(str(reason))
        self.line = line


@dataclass(frozen=True, repr=False)
class WrittenNumber:
    """A number as it is written in JSON; a float would round it."""

    text: str

    def __repr__(self) -> str:
        return self.text


def json_lines(text: str) -> Iterator[tuple[int, Record]]:
    """JSON objects, one a line; blank lines are skipped. Numbers are `WrittenNumber`s."""
    for line, part in enumerate(_LINE_END.split(text), start=1):
        if part.strip():
            yield line, _object(line, part)


def json_list(text: str) -> Iterator[tuple[int, Record]]:
    """The objects of a JSON list. Numbers are `WrittenNumber`s."""
    try:
        records = _SCANNER.decode(text)
    except json.JSONDecodeError as error:
        raise DamagedRecord(1 + _line_ends(text, 0, error.pos), error.msg) from None
    except RecursionError:
        records = None
    if not isinstance(records, list):
        raise DamagedRecord(1, "not a list of problems")
    end = text.index("[") + 1
    line = 1 + _line_ends(text, 0, end)
    for _ in records:
        begin = _TO_NEXT.match(text, end).end()
        line += _line_ends(text, end, begin)
        _, end = _SCANNER.raw_decode(text, begin)
        yield line, _object(line, text[begin:end])
        line += _line_ends(text, begin, end)


def csv_rows(text: str) -> Iterator[tuple[int, Record]]:
    """The rows below the header; blank lines are skipped. All values are strings.

    A quoted cell may contain commas, line ends and doubled quotes (RFC 4180).
    """
    header, line, begin = None, 1, 0
    while begin < len(text):
        blank = _BLANK_LINE.match(text, begin)
        if blank:
            end = blank.end()
        else:
            cells, end = _cells(line, text, begin)
            if header is None:
                header = cells
            elif len(cells) != len(header):
                reason = f"{len(cells)} columns where the header has {len(header)}"
                raise DamagedRecord(line, reason)
            else:
                yield line, dict(zip(header, cells, strict=True))
        line += _line_ends(text, begin, end)
        begin = end


def _object(line: int, text: str) -> Record:
    try:
        record = _DECODER.decode(text)
    except (json.JSONDecodeError, RecursionError):
        record = None
    except ValueError as error:
        raise DamagedRecord(line, error) from None
    if not isinstance(record, dict):
        raise DamagedRecord(line, "not a JSON object")
    return record


def _not_finite(name: str) -> None:
    raise ValueError(f"{name} is not a number in JSON: use a finite number, a string or null")


_SCANNER = json.JSONDecoder(parse_int=str, parse_float=str)  # only finds where values end
_DECODER = json.JSONDecoder(
    parse_int=WrittenNumber, parse_float=WrittenNumber, parse_constant=_not_finite
)


def _cells(line: int, text: str, begin: int) -> tuple[list[str], int]:
    """The cells of the row at `begin`, and where the next row begins."""
    cells, end = [], ","
    while end == ",":
        cell = _CELL.match(text, begin)
        if cell is None:
            raise DamagedRecord(line, "a quote is not closed, or not doubled in a quoted cell")
        quoted, plain, end = cell.groups()
        cells.append(plain if quoted is None else quoted.replace('""', '"'))
        begin = cell.end()
    return cells, begin


def _line_ends(text: str, begin: int, end: int) -> int:
    return len(_LINE_END.findall(text, begin, end))
