"""What the tasks share whose rows come from files as their authors published them."""

import dataclasses
from pathlib import Path

from expert_iter.errors import UserError
from expert_iter.tasks.words import published_files
from expert_iter.tasks.words.published_files import Published
from expert_iter.tasks.words.text_config import TextConfig
from expert_iter.tasks.words.text_task import TextTask


@dataclasses.dataclass(frozen=True)
class PublishedConfig(TextConfig):
    """What is asked of every task of published files, beside what `TextConfig` says.

    Attributes:
      data_dir: folder that holds the files under their published names.
      verify_files: whether they must be the published ones, by rows and checksum; turn it off for a
        file that you changed yourself.
    """

    data_dir: str = ""
    verify_files: bool = True


class PublishedTask(TextTask):
    """A text task that reads `Published` files."""

    row_settings = ("verify_files",)

    def locate(self, *files: Published) -> Path:
        """Where the first of the files is that is there, or where the first should be."""
        try:
            return published_files.locate(self.config.data_dir, *files)[0]
        except UserError:
            return Path(self.config.data_dir, files[0].name)

    def read_file(self, convert: published_files.Convert, *files: Published) -> list:
        """`convert(record, row, place)` of the first of the files that is there; see
        `published_files.read`.
        """
        return published_files.read(self.config.data_dir, files, self.config.verify_files, convert)
