"""Reads files of problems: JSON lines, a JSON list, or CSV with a header."""

import gzip
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from expert_iter.errors import UserError
from expert_iter.tasks.records import (
    DamagedRecord,
    Record,
    csv_rows,
    json_lines,
    json_list,
)

T = TypeVar("T")
_PARSERS = {".jsonl": json_lines, ".json": json_list, ".csv": csv_rows}


def read_records(path: str | os.PathLike, convert: Callable[[Record, int], T]) -> list[T]:
    """Reads all records of a file.

    Args:
      path: a `.jsonl`, `.json` or `.csv` file, or one of these compressed as `.gz`.
      convert: called with a record and the line where it begins. Numbers of JSON are
        `records.WrittenNumber`s. It raises ValueError, with the reason, for an invalid record.

    Returns:
      What `convert` returned for each record.

    Raises:
      UserError: the file is missing, damaged or empty. The message has the file and the line.
    """
    path = Path(path).expanduser()
    compressed = path.suffix == ".gz"
    parse = _PARSERS.get(path.with_suffix("").suffix if compressed else path.suffix)
    if parse is None:
        raise UserError(f"{path}: the name of a file of problems must end in .jsonl, .csv or .json")
    records = []
    try:
        for line, record in parse(_text(path, compressed)):
            try:
                records.append(convert(record, line))
            except ValueError as error:
                reason = "not UTF-8 text" if isinstance(error, UnicodeError) else error
                raise DamagedRecord(line, reason) from None
    except DamagedRecord as damage:
        raise UserError(f"{path}, line {damage.line}: {damage}") from None
    if not records:
        raise UserError(f"{path}: the file has no problems")
    return records


def _text(path: Path, compressed: bool) -> str:
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if compressed else data
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read: {reason}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start] + b"."
        raise DamagedRecord(len(before.splitlines()), "not UTF-8 text") from None
