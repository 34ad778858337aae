"""The tasks' problems as TFDS datasets (no TensorFlow needed), and as JSONL or CSV files.

A task says what there is to store: `splits`, the text `fields` of a record beside its `id`, and
`records(split)`; `problem_of(record, id)` makes the problem again. `dataset_setting` names the
setting that holds the dataset's folder, and `dataset_key()` gives the settings and files that the
records depend on.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from expert_iter.errors import UserError
from expert_iter.tasks import load_task
from expert_iter.tasks.files import write_records


class TaskBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A dataset of one task's problems, in their order; read it with `as_data_source()`.

    Records are ArrayRecord: TFDS's default format needs TensorFlow.
    """

    VERSION = tfds.core.Version("1.0.0")
    name = "task"

    def __init__(self, task: Any, **kwargs):
        """`task` is the one whose problems to write; kwargs are those of any TFDS builder."""
        self._task = task
        self.name = task.name
        super().__init__(**{"file_format": "array_record", **kwargs})

    def _info(self) -> tfds.core.DatasetInfo:
        fields = ("id", *self._task.fields)
        return tfds.core.DatasetInfo(
            builder=self,
            description=type(self._task).__doc__,
            features=tfds.features.FeaturesDict({name: tfds.features.Text() for name in fields}),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in self._task.splits}

    def _generate_examples(self, split):
        return enumerate(self._task.records(split))


class CountdownBuilder(TaskBuilder):
    """The default Countdown problems, or those of a task with other settings."""

    name = "countdown"

    def __init__(self, task: Any = None, **kwargs):
        super().__init__(task or load_task(self.name), **kwargs)


class Game24Builder(CountdownBuilder):
    """The default puzzles of the Game of 24, or those of a task with other settings."""

    name = "game24"


def export(task: Any, split: str, path: str | os.PathLike) -> None:
    """Writes a split's records to a `.jsonl` or `.csv` file.

    `task.read` reads that of a number game back identically, and the task `jsonl` that of any
    text task (with its answer_type). Raises UserError for another name.
    """
    write_records(path, task.records(split))


def load_records(task: Any) -> dict[str, list[dict[str, str]]]:
    """All splits from the dataset in the task's folder, which is built there at first use.

    Each choice of settings, and of the contents of the files they name, has a folder of its own.
    """
    root = getattr(task.config, task.dataset_setting)
    folder = Path(root) / _fingerprint(task)
    no_dataset = dataclasses.replace(task.config, **{task.dataset_setting: ""})
    tfds.disable_progress_bar()
    try:
        # TFDS prints to stdout, which belongs to the commands.
        with contextlib.redirect_stdout(io.StringIO()):
            builder = TaskBuilder(type(task)(no_dataset), data_dir=folder)
            builder.download_and_prepare()
        return {split: list(_records(builder, split)) for split in builder.info.splits}
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"task.{task.dataset_setting}={root}: {error}") from None
    except Exception as error:
        reason = " ".join(str(error).split())
        raise UserError(f"the dataset in {folder} is damaged, delete it: {reason}") from error


def _records(builder: TaskBuilder, split: str) -> Iterator[dict[str, str]]:
    for example in builder.as_data_source(split):
        yield {name: value.decode() for name, value in example.items()}


def _fingerprint(task: Any) -> str:
    settings, files = task.dataset_key()
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in files:
        digest.update(path.read_bytes())
    return f"{task.name}-{digest.hexdigest()[:12]}"
