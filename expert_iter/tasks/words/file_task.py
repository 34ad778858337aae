"""The base class of tasks that read the user's own files, one file per split."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

from expert_iter.errors import UserError
from expert_iter.tasks.files import read_records
from expert_iter.tasks.words.questions import is_held_out
from expert_iter.tasks.words.rows import Row
from expert_iter.tasks.words.text_config import TextConfig
from expert_iter.tasks.words.text_task import TextTask


@dataclasses.dataclass(frozen=True)
class FileConfig(TextConfig):
    """The task's files, besides the settings of `TextConfig`. A split that is used needs its file.

    Attributes:
      train_file: JSONL or CSV of training problems.
      validation_file: JSONL or CSV of validation problems. Empty: about one in twenty problems of
        train_file, by a hash of the question's words.
      test_file: JSONL or CSV of test problems.
    """

    train_file: str = ""
    validation_file: str = ""
    test_file: str = ""


class FileTask(TextTask):
    """A text task with one file per split.

    Ids are the split and the row in the file, from 0, as in 'train-17'. Validation problems from
    the training file keep their 'train' ids.
    """

    def dataset_key(self) -> tuple[dict[str, Any], list[Path]]:
        settings, files = super().dataset_key()
        return {**settings, "split_off": not self.config.validation_file}, files

    def files(self, split: str) -> list[Path]:
        name = getattr(self.config, f"{split}_file")
        if split == "validation":
            name = name or self.config.train_file
        if not name:
            key = "train_file" if split == "validation" else f"{split}_file"
            raise UserError(
                f"task {self.name} has no {split} problems: name a JSONL or CSV file in task.{key}"
            )
        return [Path(name)]

    def rows_of_files(self, split: str) -> list[Row]:
        (path,) = self.files(split)
        if split == "test" or (split == "validation" and self.config.validation_file):
            return self._read(path, split)
        rows = self._read(path, "train")
        if self.config.validation_file:
            return rows
        return [row for row in rows if is_held_out(row.question) == (split == "validation")]

    def _read(self, path: Path, prefix: str) -> list[Row]:
        numbers = itertools.count()

        def convert(record, line):
            return self.row_at(record, f"{prefix}-{next(numbers)}", f"{path}, line {line}")

        return read_records(path, convert)
