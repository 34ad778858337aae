"""The base class of tasks that read files as their authors published them."""

import dataclasses
import functools
import hashlib
import itertools
from pathlib import Path

from expert_iter.errors import UserError
from expert_iter.tasks.files import read_records
from expert_iter.tasks.records import Record
from expert_iter.tasks.words.published_files import Published
from expert_iter.tasks.words.questions import split_of_story
from expert_iter.tasks.words.rows import Row
from expert_iter.tasks.words.text_config import TextConfig
from expert_iter.tasks.words.text_task import TextTask


@dataclasses.dataclass(frozen=True)
class PublishedConfig(TextConfig):
    """The settings of tasks with published files, besides those of `TextConfig`.

    Attributes:
      data_dir: directory of the files, under their published names.
      verify_files: whether to check the files' rows and checksums. Turn it off for a file that you
        have changed.
    """

    data_dir: str = ""
    verify_files: bool = True


class PublishedTask(TextTask):
    """A text task that reads `Published` files.

    Attributes:
      published: the files, whose rows `split_of` splits.
    """

    row_settings = ("verify_files",)
    published: tuple[Published, ...]

    def id_of(self, record: Record, name: str, i: int) -> str:
        """The id of row `i`, from 0, of the file `name`. Raises ValueError, with the reason."""
        return f"{name}-{i}"

    def split_of(self, row: Row) -> str:
        """The split of a row: here by its question's first words."""
        return split_of_story(row.question)

    def files(self, split: str) -> list[Path]:
        return [self.locate(file) for file in self.published]

    def rows_of_files(self, split: str) -> list[Row]:
        return [row for row in self._all_rows if self.split_of(row) == split]

    @functools.cached_property
    def _all_rows(self) -> list[Row]:
        return self.read_files()

    def read_files(self) -> list[Row]:
        """The rows of all splits."""
        return [row for file in self.published for row in self.read_file(file)]

    def locate(self, *files: Published) -> Path:
        """The path of the first of `files` that exists; where the first should be if none does."""
        paths = [Path(self.config.data_dir, file.name) for file in files]
        return next(filter(Path.is_file, paths), paths[0])

    def read_file(self, *files: Published) -> list[Row]:
        """Reads the first of `files` that exists.

        Raises:
          UserError: no file exists, a record is invalid, or the file is not the published one.
        """
        folder, first = self.config.data_dir, files[0]
        if not folder:
            raise UserError(
                f"task.data_dir is not set: name the directory of {first.name} "
                f"(published in {first.source})"
            )
        path = self.locate(*files)
        if not path.is_file():
            raise UserError(
                f"task.data_dir={folder} holds no {first.name}: get it from {first.source}"
            )
        numbers = itertools.count()

        def convert(record: Record, line: int) -> Row:
            id = self.id_of(record, Path(first.name).stem, next(numbers))
            return self.row_at(record, id, f"{path}, line {line}")

        rows = read_records(path, convert)
        if self.config.verify_files:
            (file,) = (file for file in files if file.name == path.name)
            _verify(path, file, len(rows))
        return rows


def _verify(path: Path, file: Published, rows: int) -> None:
    fix = f"get it again from {file.source}, or set task.verify_files=false for a changed one"
    if rows != file.rows:
        raise UserError(f"{path} has {rows} rows where the published file has {file.rows}: {fix}")
    if file.sha256 and hashlib.sha256(path.read_bytes()).hexdigest() != file.sha256:
        raise UserError(f"{path} is not the published file, for its SHA-256 differs: {fix}")
