"""The tasks' problems as TFDS datasets (no TensorFlow needed), and as JSONL or CSV files.

All hold the same text fields: `id`, `numbers` ("3 5 7") and `target` ("15").
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds

from expert_iter.errors import UserError
from expert_iter.tasks.countdown import Countdown, CountdownConfig
from expert_iter.tasks.files import write_records
from expert_iter.tasks.game24 import Game24, Game24Config
from expert_iter.tasks.number_game import NumberGame, make_goal, make_problem
from expert_iter.tasks.task import SPLITS, Problem

_FIELDS = ("id", "numbers", "target")


class NumberGameBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A dataset of one task's problems, in their order; read it with `as_data_source()`.

    Records are ArrayRecord: TFDS's default format needs TensorFlow.
    """

    VERSION = tfds.core.Version("1.0.0")
    default_task: NumberGame

    def __init__(self, task: NumberGame | None = None, **kwargs):
        """`task` is the one whose problems to write; kwargs are those of any TFDS builder."""
        self._task = task or self.default_task
        super().__init__(**{"file_format": "array_record", **kwargs})

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=type(self._task).__doc__,
            features=tfds.features.FeaturesDict({name: tfds.features.Text() for name in _FIELDS}),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in SPLITS}

    def _generate_examples(self, split):
        return enumerate(_records(self._task, split))


class CountdownBuilder(NumberGameBuilder):
    name = "countdown"
    default_task = Countdown(CountdownConfig())


class Game24Builder(NumberGameBuilder):
    name = "game24"
    default_task = Game24(Game24Config())


_BUILDERS = {builder.name: builder for builder in (CountdownBuilder, Game24Builder)}


def export(task: NumberGame, split: str, path: str | os.PathLike) -> None:
    """Writes a split to a `.jsonl` or `.csv` file that `task.read` reads back identically."""
    write_records(path, _records(task, split))


def load_problems(task: NumberGame) -> dict[str, list[Problem]]:
    """All splits from the dataset in the task's `data_dir`, which is built there at first use.

    Each choice of settings, and of the contents of the files they name, has a folder of its own.
    """
    folder = Path(task.config.data_dir) / _fingerprint(task)
    in_memory = type(task)(dataclasses.replace(task.config, data_dir=""))
    tfds.disable_progress_bar()
    try:
        # TFDS prints to stdout, which belongs to the commands.
        with contextlib.redirect_stdout(io.StringIO()):
            builder = _BUILDERS[task.name](in_memory, data_dir=folder)
            builder.download_and_prepare()
        return {
            split: [_problem(example) for example in builder.as_data_source(split)]
            for split in SPLITS
        }
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"task.data_dir={task.config.data_dir}: {error}") from None
    except Exception as error:
        reason = " ".join(str(error).split())
        raise UserError(f"the dataset in {folder} is damaged, delete it: {reason}") from error


def _records(task: NumberGame, split: str) -> Iterator[dict[str, str]]:
    for problem in task.problems(split):
        numbers, target = problem.answer
        yield {"id": problem.id, "numbers": " ".join(map(str, numbers)), "target": str(target)}


def _problem(example: dict[str, bytes]) -> Problem:
    id, numbers, target = (example[name].decode() for name in _FIELDS)
    return make_problem(make_goal(numbers, target), id)


def _fingerprint(task: NumberGame) -> str:
    settings = dataclasses.asdict(task.config)
    del settings["data_dir"]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for value in settings.values():
        if isinstance(value, str) and Path(value).is_file():
            digest.update(Path(value).read_bytes())
    return f"{task.name}-{digest.hexdigest()[:12]}"
