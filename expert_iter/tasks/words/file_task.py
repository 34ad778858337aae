"""What the tasks share whose rows come from the user's own files, one a split."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

from expert_iter.errors import UserError
from expert_iter.tasks.files import read_records
from expert_iter.tasks.words.questions import share_of
from expert_iter.tasks.words.rows import Row
from expert_iter.tasks.words.text_config import TextConfig
from expert_iter.tasks.words.text_task import TextTask

VALIDATION_SHARE = 0.05


@dataclasses.dataclass(frozen=True)
class FileConfig(TextConfig):
    """Which files there are, beside what `TextConfig` says. Each is needed once it is asked for.

    Attributes:
      train_file: JSONL or CSV of training problems.
      validation_file: of validation problems; empty: about one in twenty of train_file's, by a hash
        of the question's words.
      test_file: of test problems.
    """

    train_file: str = ""
    validation_file: str = ""
    test_file: str = ""


class FileTask(TextTask):
    """A text task of a file a split. Ids are 'train-17' and so on, by the row in the file, from 0;
    validation problems that were split off keep theirs.
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
        held_out = split == "validation"
        return [row for row in rows if (share_of(row.question) < VALIDATION_SHARE) == held_out]

    def _read(self, path: Path, prefix: str) -> list[Row]:
        numbers = itertools.count()

        def convert(record, line):
            return self.row_at(record, f"{prefix}-{next(numbers)}", f"{path}, line {line}")

        return read_records(path, convert)
