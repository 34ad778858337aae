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
        key = "train_file" if self._is_split_off(split) else f"{split}_file"
        name = getattr(self.config, key)
        if not name:
            raise UserError(
                f"task {self.name} has no {split} problems: name a JSONL or CSV file in task.{key}"
            )
        return [Path(name)]

    def rows_of_files(self, split: str) -> list[Row]:
        is_split_off = self._is_split_off(split)
        rows = self._read(self.files(split)[0], "train" if is_split_off else split)
        if not is_split_off:
            return rows
        return [row for row in rows if is_held_out(row.question) == (split == "validation")]

    def _is_split_off(self, split: str) -> bool:
        """Whether the split is a part of the training file."""
        return split != "test" and not self.config.validation_file

    def _read(self, path: Path, prefix: str) -> list[Row]:
        numbers = itertools.count()

        def convert(record, line):
            return self.row_at(record, f"{prefix}-{next(numbers)}", f"{path}, line {line}")

        return read_records(path, convert)
