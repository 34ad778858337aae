"""Problems in files: one record of text fields a line, as JSONL or as CSV with a header."""

import csv
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from expert_iter.errors import UserError

T = TypeVar("T")


def read_records(path: str | os.PathLike, convert: Callable[[dict[str, Any], int], T]) -> list[T]:
    """`convert(record, line number)` of every record in a `.jsonl` or `.csv` file; no blank lines.

    `convert` raises ValueError, saying what is wrong, for a record it cannot use. Raises UserError
    naming the file, and the line where there is one, if the file is missing, damaged or empty.
    """
    path = Path(path)
    parse = {".jsonl": _parse_jsonl, ".csv": _parse_csv}.get(path.suffix)
    if parse is None:
        raise UserError(f"{path}: the name of a file of problems must end in .jsonl or .csv")
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    records = []
    header = None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            if path.suffix == ".csv" and header is None:
                header = next(csv.reader([text]))
                continue
            records.append(convert(parse(text, header), number))
        except (ValueError, csv.Error) as error:
            reason = "not UTF-8 text" if isinstance(error, UnicodeError) else error
            raise UserError(f"{path}, line {number}: {reason}") from None
    if not records:
        raise UserError(f"{path}: there are no problems in it")
    return records


def _parse_jsonl(line: str, header: None) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    return record


def _parse_csv(line: str, header: list[str]) -> dict[str, Any]:
    cells = next(csv.reader([line], strict=True))
    if len(cells) != len(header):
        raise ValueError(f"{len(cells)} columns where the header has {len(header)}")
    return dict(zip(header, cells, strict=True))


def write_records(path: str | os.PathLike, records: Iterable[Mapping[str, str]]) -> None:
    """Writes a `.jsonl` or `.csv` file that `read_records` reads back; all records of equal fields.

    A field may not hold a newline.
    """
    path = Path(path)
    records = list(records)
    with path.open("w", encoding="utf-8", newline="") as file:
        if path.suffix == ".csv":
            writer = csv.DictWriter(file, fieldnames=list(records[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(records)
        elif path.suffix == ".jsonl":
            file.writelines(f"{json.dumps(record, ensure_ascii=False)}\n" for record in records)
        else:
            raise UserError(f"{path}: the name of a file of problems must end in .jsonl or .csv")
