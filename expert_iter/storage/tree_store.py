"""The searched trees of a run, kept as data beside its checkpoints.

    trees/
      round-0003.unit-0007.process-0.array_record    the trees that process 0 has of a batch

Each file is written whole or not at all. A unit that is searched again after a resume overwrites
its own. The oldest files go first when the store is full.
"""

import dataclasses
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
from etils import epath

from expert_iter.errors import UserError
from expert_iter.range_checks import Checks
from expert_iter.storage.files import is_local, write_atomic

# Of the compressions that array_record has, the cheapest that still takes out the padding.
_OPTIONS = "zstd:1"
_NAME = re.compile(r"round-(\d+)\.unit-(\d+)\.process-(\d+)\.array_record")


@dataclasses.dataclass(frozen=True)
class StoreConfig:
    """The searched trees that a run keeps as data, in the workdir's `trees/`.

    Attributes:
      gigabytes: the most that all processes keep together, the newest trees; 0 keeps none.
    """

    gigabytes: float = 1.0

    def __post_init__(self):
        Checks("store", self).not_negative("gigabytes")


class TreeFile(NamedTuple):
    """A file of trees, named after the search that they come from. Files sort by age.

    Attributes:
      round, unit: of the search.
      process: which process wrote it.
    """

    round: int
    unit: int
    process: int

    @property
    def name(self) -> str:
        return f"round-{self.round:04}.unit-{self.unit:04}.process-{self.process}.array_record"


def stored(folder: str | os.PathLike) -> list[TreeFile]:
    """The files of trees in a folder, the oldest first; none if there is no such folder."""
    folder = epath.Path(folder)
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    return sorted(TreeFile(*map(int, m.groups())) for m in map(_NAME.fullmatch, names) if m)


def read(folder: str | os.PathLike, file: TreeFile) -> list[bytes]:
    """The records of a file, one a problem (see `tree_record`); none if it has been removed.

    Raises:
      UserError: it is damaged.
    """
    path = epath.Path(folder) / file.name
    if not path.exists():
        return []
    with tempfile.TemporaryDirectory() as scratch:
        local = Path(path)
        if not is_local(path):
            local = Path(scratch, file.name)
            local.write_bytes(path.read_bytes())
        try:
            reader = ArrayRecordReader(str(local))
            records = reader.read_all() if reader.ok() and reader.num_records() else []
            reader.close()
        except (RuntimeError, IndexError, ValueError):
            records = []
    if not records:  # the reader takes a damaged file for one without records, which none is
        raise UserError(f"{path} is damaged; delete it")
    return records


class TreeStore:
    """Writes one process's trees in the background.

    Args:
      folder: local, or gs://bucket/path; made at the first write.
      config: how much is kept.
      process, processes: this process's number, and how many there are. Each removes the old files
        of its own number, and of the numbers that come to it when there are fewer than before.
    """

    def __init__(
        self, folder: str | os.PathLike, config: StoreConfig, process: int = 0, processes: int = 1
    ):
        self._folder = epath.Path(folder)
        self._capacity = config.gigabytes * 1e9 / processes
        self._process, self._processes = process, processes
        self._sizes: dict[TreeFile, int] | None = None  # of the files of this process's share
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="trees")
        self._writing: Future | None = None

    def start_writing(self, round: int, unit: int, records: Callable[[], Sequence[bytes]]) -> None:
        """Writes a unit's trees while the caller goes on. What was being written is waited for.

        Args:
          records: makes the records, in the background, too.

        Raises:
          UserError: as `finish`, of the unit before.
        """
        self.finish()
        if self._capacity:
            file = TreeFile(round, unit, self._process)
            self._writing = self._thread.submit(self._write, file, records)

    def finish(self) -> None:
        """Waits until all is on the disk. Raises UserError if it cannot be written (disk full)."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _write(self, file: TreeFile, records: Callable[[], Sequence[bytes]]) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            sizes = self._own_sizes()
            # What is left of a process that was killed, or of more processes than there are now:
            # the run has gone back, and searches these problems again.
            for later in [f for f in sizes if f[:2] >= file[:2] and f != file]:
                self._remove(later)
            made = records()
            if made:  # a process may have no problem of a small batch
                sizes[file] = write_file(self._folder / file.name, made)
            for oldest in sorted(sizes):
                if sum(sizes.values()) <= self._capacity:
                    break
                self._remove(oldest)
        except (OSError, RuntimeError) as error:  # array_record raises the latter
            reason = getattr(error, "strerror", None) or str(error).partition(";")[0]
            raise UserError(
                f"trees cannot be written to {self._folder}: {reason}; make room and run the same "
                "command again, with a lower store.gigabytes if need be (0 keeps no trees)"
            ) from error

    def _own_sizes(self) -> dict[TreeFile, int]:
        if self._sizes is None:
            files = [
                f for f in stored(self._folder) if f.process % self._processes == self._process
            ]
            self._sizes = {f: (self._folder / f.name).stat().length for f in files}
        return self._sizes

    def _remove(self, file: TreeFile) -> None:
        (self._folder / file.name).unlink(missing_ok=True)
        del self._sizes[file]


def write_file(path: epath.Path, records: Sequence[bytes]) -> int:
    """Writes records so that a reader, or a crash at any moment, sees all of them or none.

    Returns:
      The size of the file in bytes.

    Raises:
      OSError, RuntimeError: it cannot be written.
    """
    with tempfile.TemporaryDirectory() as scratch:
        local = Path(scratch, "records")
        writer = ArrayRecordWriter(str(local), _OPTIONS)
        try:
            for record in records:
                writer.write(record)
        finally:
            writer.close()
        data = local.read_bytes()
    write_atomic(path, data)
    return len(data)
