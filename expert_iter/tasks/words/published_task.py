"""The base class of tasks that read files as their authors published them."""

import dataclasses
from pathlib import Path

from expert_iter.errors import UserError
from expert_iter.tasks.words import published_files
from expert_iter.tasks.words.published_files import Published
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
    """A text task that reads `Published` files."""

    row_settings = ("verify_files",)

    def locate(self, *files: Published) -> Path:
        """The path of the first of `files` that exists; where the first should be if none does."""
        try:
            return published_files.locate(self.config.data_dir, *files)[0]
        except UserError:
            return Path(self.config.data_dir, files[0].name)

    def read_file(self, convert: published_files.Convert, *files: Published) -> list:
        """Reads the first of `files` that exists; see `published_files.read`."""
        return published_files.read(self.config.data_dir, files, self.config.verify_files, convert)
