"""Published files: how they are read, and the sources and checksums of the text tasks' files."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from expert_iter.errors import UserError
from expert_iter.tasks.files import read_records
from expert_iter.tasks.records import Record

T = TypeVar("T")


class Published(NamedTuple):
    """A file as its authors published it, or the first part of one.

    Attributes:
      name: of the file on disk.
      rows: number of records.
      sha256: checksum; '' if not known, and then only the rows are checked.
      source: the repository on GitHub where it was published, and the path there.
    """

    name: str
    rows: int
    sha256: str
    source: str


def locate(folder: str, *files: Published) -> Path:
    """The path of the first of `files` that exists; where the first should be if none does."""
    paths = [Path(folder, file.name) for file in files]
    return next(filter(Path.is_file, paths), paths[0])


def read_published(
    folder: str, *files: Published, convert: Callable[[Record, str], T], verify: bool
) -> list[T]:
    """Reads the first of `files` that exists.

    Args:
      folder: the task's setting `data_dir`.
      files: the file, and others that may stand in its place.
      convert: called with a record and its place, as in "FILE, line 3". It raises ValueError, with
        the reason, for an invalid record.
      verify: whether to check the rows and the checksum.

    Returns:
      What `convert` returned for each record.

    Raises:
      UserError: no file exists, a record is invalid, or the file is not the published one.
    """
    first = files[0]
    if not folder:
        raise UserError(
            f"task.data_dir is not set: name the directory of {first.name} "
            f"(published in {first.source})"
        )
    path = locate(folder, *files)
    if not path.is_file():
        raise UserError(f"task.data_dir={folder} holds no {first.name}: get it from {first.source}")
    rows = read_records(path, lambda record, line: convert(record, f"{path}, line {line}"))
    if verify:
        (file,) = (file for file in files if file.name == path.name)
        _verify(path, file, len(rows))
    return rows


def _verify(path: Path, file: Published, rows: int) -> None:
    fix = f"get it again from {file.source}, or set task.verify_files=false for a changed one"
    if rows != file.rows:
        raise UserError(f"{path} has {rows} rows where the published file has {file.rows}: {fix}")
    if file.sha256 and hashlib.sha256(path.read_bytes()).hexdigest() != file.sha256:
        raise UserError(f"{path} is not the published file, for its SHA-256 differs: {fix}")


GSM8K_TRAIN = Published(
    "train.jsonl",
    7473,
    "17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465",
    "openai/grade-school-math, grade_school_math/data/train.jsonl",
)
GSM8K_TEST = Published(
    "test.jsonl", 1319, "", "openai/grade-school-math, grade_school_math/data/test.jsonl"
)
GSM8K_TEST_PART = Published(
    "test_0000_0659.jsonl",
    660,
    "77f82a42b5d21699f3c3947d8a8eb715a3a542230c14611706d9e496825562fe",
    GSM8K_TEST.source,
)
SVAMP = Published(
    "SVAMP.json",
    1000,
    "5be77703a6d891ae476d7c082787ad361392aa02453b132516cdd5f4e7934e3e",
    "arkilpatel/SVAMP, SVAMP.json",
)
_MAWPS = {
    "addsub": (395, "2fae2c92530cdf1ac0487db9a90e68d6af84049d755c07c4486411c1d7f43e75"),
    "multiarith": (600, "12e8295088364af21fb6591dbdbd1dda452aade57227f63d725677471ded2951"),
    "singleeq": (508, "07bec92bae226dd5231a966e907a0f097ba3170a1557c73ceeb135caad8d09f8"),
    "singleop": (562, "feb012e7ed5503cdb96fd127d539692b033000e9134655acaf4f4e0091328e94"),
}
MAWPS = tuple(
    Published(f"{name}.jsonl", *known, f"microsoft/ToRA, src/data/mawps/{name}.jsonl")
    for name, known in _MAWPS.items()
)
MBPP = Published(
    "mbpp.jsonl",
    974,
    "ccf64ceae9c5403bf50a044cb6d505bfd2a2963ee58338ba268fd65beab92a9f",
    "google-research/google-research, mbpp/mbpp.jsonl",
)
HUMANEVAL = Published(
    "HumanEval.jsonl.gz",
    164,
    "b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef",
    "openai/human-eval, data/HumanEval.jsonl.gz",
)
