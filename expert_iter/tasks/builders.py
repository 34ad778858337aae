"""Stores a task's problems as a TFDS dataset, without TensorFlow.

The task defines what to store: its `splits`, the text `fields` of a record besides `id`, and
`records(split)`. `problem_of(record, id)` restores a problem. `dataset_setting` names the setting
with the dataset's directory. `dataset_key()` gives the settings and files that the records depend
on.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from expert_iter.errors import UserError


class TaskBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A dataset of one task's problems, in order. Read it with `as_data_source()`.

    The file format is ArrayRecord, because TFDS's default needs TensorFlow.
    """

    VERSION = tfds.core.Version("1.0.0")
    name = "task"

    def __init__(self, task: Any, **kwargs):
        """Stores the problems of `task`. The other arguments are those of every TFDS builder."""
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


def load_records(task: Any) -> dict[str, list[dict[str, str]]]:
    """The records of all splits, from the dataset in the task's directory; built if missing.

    Each combination of settings and of file contents has its own subdirectory.

    Raises:
      UserError: the dataset cannot be written or is damaged.
    """
    root = getattr(task.config, task.dataset_setting)
    folder = Path(root) / _fingerprint(task)
    no_dataset = dataclasses.replace(task.config, **{task.dataset_setting: ""})
    tfds.disable_progress_bar()
    try:
        # TFDS prints to stdout, where only the command's output belongs.
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
