"""The base class of tasks that read files as their authors published them."""

import dataclasses
import functools
import itertools
from pathlib import Path

from expert_iter.tasks.records import Record
from expert_iter.tasks.words import published_files
from expert_iter.tasks.words.published_files import Published, read_published
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
        return published_files.locate(self.config.data_dir, *files)

    def read_file(self, *files: Published) -> list[Row]:
        """Reads the first of `files` that exists. Raises UserError, as `read_published`."""
        name, numbers = Path(files[0].name).stem, itertools.count()

        def convert(record: Record, place: str) -> Row:
            return self.row_at(record, self.id_of(record, name, next(numbers)), place)

        config = self.config
        return read_published(config.data_dir, *files, convert=convert, verify=config.verify_files)
