"""The published files of the text tasks: their sources and checksums, and how to read them."""

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from expert_iter.errors import UserError
from expert_iter.tasks.files import read_records
from expert_iter.tasks.records import Record

T = TypeVar("T")
Convert = Callable[[Record, int, str], T]


@dataclass(frozen=True)
class Published:
    """A file as its authors published it, or the first part of one.

    Attributes:
      name: of the file on disk.
      rows: number of records.
      sha256: checksum; '' if not known, and then only the rows are checked.
      repository: on GitHub, where it was published.
      path: in the repository.
    """

    name: str
    rows: int
    sha256: str
    repository: str
    path: str

    @property
    def source(self) -> str:
        return f"{self.repository}, {self.path}"


_GSM8K = "openai/grade-school-math", "grade_school_math/data"
_MAWPS = "microsoft/ToRA", "src/data/mawps"

GSM8K_TRAIN = Published(
    "train.jsonl",
    7473,
    "17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465",
    _GSM8K[0],
    f"{_GSM8K[1]}/train.jsonl",
)
GSM8K_TEST = Published("test.jsonl", 1319, "", _GSM8K[0], f"{_GSM8K[1]}/test.jsonl")
GSM8K_TEST_PART = Published(
    "test_0000_0659.jsonl",
    660,
    "77f82a42b5d21699f3c3947d8a8eb715a3a542230c14611706d9e496825562fe",
    _GSM8K[0],
    f"{_GSM8K[1]}/test.jsonl",
)
SVAMP = Published(
    "SVAMP.json",
    1000,
    "5be77703a6d891ae476d7c082787ad361392aa02453b132516cdd5f4e7934e3e",
    "arkilpatel/SVAMP",
    "SVAMP.json",
)
MAWPS = tuple(
    Published(name, rows, sha256, _MAWPS[0], f"{_MAWPS[1]}/{name}")
    for name, rows, sha256 in (
        (
            "addsub.jsonl",
            395,
            "2fae2c92530cdf1ac0487db9a90e68d6af84049d755c07c4486411c1d7f43e75",
        ),
        (
            "multiarith.jsonl",
            600,
            "12e8295088364af21fb6591dbdbd1dda452aade57227f63d725677471ded2951",
        ),
        (
            "singleeq.jsonl",
            508,
            "07bec92bae226dd5231a966e907a0f097ba3170a1557c73ceeb135caad8d09f8",
        ),
        (
            "singleop.jsonl",
            562,
            "feb012e7ed5503cdb96fd127d539692b033000e9134655acaf4f4e0091328e94",
        ),
    )
)
MBPP = Published(
    "mbpp.jsonl",
    974,
    "ccf64ceae9c5403bf50a044cb6d505bfd2a2963ee58338ba268fd65beab92a9f",
    "google-research/google-research",
    "mbpp/mbpp.jsonl",
)
HUMANEVAL = Published(
    "HumanEval.jsonl.gz",
    164,
    "b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef",
    "openai/human-eval",
    "data/HumanEval.jsonl.gz",
)


def locate(folder: str, *files: Published) -> tuple[Path, Published]:
    """The path of the first of `files` that exists, and that file.

    Raises:
      UserError: none exists. The message says where to get the first.
    """
    first = files[0]
    if not folder:
        raise UserError(
            f"task.data_dir is not set: name the directory of {first.name} "
            f"(published in {first.source})"
        )
    for file in files:
        if Path(folder, file.name).is_file():
            return Path(folder, file.name), file
    raise UserError(f"task.data_dir={folder} holds no {first.name}: get it from {first.source}")


def read(folder: str, files: tuple[Published, ...], verify: bool, convert: Convert) -> list[T]:
    """Reads all records of the first of `files` that exists.

    Args:
      folder: the directory of the files.
      files: see above.
      verify: whether to check the number of rows and the checksum.
      convert: called with a record, its row from 0, and its place, as in "FILE, line 3". It raises
        ValueError, with the reason, for an invalid record.

    Returns:
      What `convert` returned for each record.

    Raises:
      UserError: no file exists, a record is invalid, or the file is not the published one.
    """
    path, file = locate(folder, *files)
    numbers = itertools.count()
    rows = read_records(
        path, lambda record, line: convert(record, next(numbers), f"{path}, line {line}")
    )
    if verify:
        _verify(path, file, len(rows))
    return rows


def _verify(path: Path, file: Published, rows: int) -> None:
    fix = f"get it again from {file.source}, or set task.verify_files=false for a changed one"
    if rows != file.rows:
        raise UserError(f"{path} has {rows} rows where the published file has {file.rows}: {fix}")
    if file.sha256 and hashlib.sha256(path.read_bytes()).hexdigest() != file.sha256:
        raise UserError(f"{path} is not the published file, for its SHA-256 differs: {fix}")
