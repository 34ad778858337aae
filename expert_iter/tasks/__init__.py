"""Tasks: problems, the format of their solutions, and the verdict on a solution."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from expert_iter.errors import UserError
from expert_iter.tasks.code.humaneval import HumanEval, HumanEvalConfig
from expert_iter.tasks.code.mbpp import Mbpp
from expert_iter.tasks.deduction.deduction_task import DeductionConfig
from expert_iter.tasks.deduction.prontoqa import Prontoqa
from expert_iter.tasks.deduction.proofwriter import Proofwriter, ProofwriterConfig
from expert_iter.tasks.deduction.prosqa import Prosqa, ProsqaConfig
from expert_iter.tasks.gym.reasoning_gym import ReasoningGym, ReasoningGymConfig
from expert_iter.tasks.near import near
from expert_iter.tasks.numbers.countdown import Countdown, CountdownConfig
from expert_iter.tasks.numbers.game24 import Game24, Game24Config
from expert_iter.tasks.planning.blocksworld import Blocksworld, BlocksworldConfig
from expert_iter.tasks.task import Problem, Question, Task
from expert_iter.tasks.words.file_task import FileConfig
from expert_iter.tasks.words.gsm8k import Gsm8k, Gsm8kConfig
from expert_iter.tasks.words.jsonl import Jsonl, JsonlConfig
from expert_iter.tasks.words.math import Math
from expert_iter.tasks.words.mawps import Mawps
from expert_iter.tasks.words.published_task import PublishedConfig
from expert_iter.tasks.words.stories import Stories, StoriesConfig
from expert_iter.tasks.words.svamp import Svamp

__all__ = ["TASKS", "Problem", "Question", "Task", "load_task", "task_settings"]

# By name: the class of the task and the dataclass of its settings.
TASKS: dict[str, tuple[type, type]] = {
    "blocksworld": (Blocksworld, BlocksworldConfig),
    "countdown": (Countdown, CountdownConfig),
    "game24": (Game24, Game24Config),
    "gsm8k": (Gsm8k, Gsm8kConfig),
    "humaneval": (HumanEval, HumanEvalConfig),
    "jsonl": (Jsonl, JsonlConfig),
    "math": (Math, FileConfig),
    "mawps": (Mawps, PublishedConfig),
    "mbpp": (Mbpp, PublishedConfig),
    "proofwriter": (Proofwriter, ProofwriterConfig),
    "prontoqa": (Prontoqa, DeductionConfig),
    "prosqa": (Prosqa, ProsqaConfig),
    "reasoning_gym": (ReasoningGym, ReasoningGymConfig),
    "stories": (Stories, StoriesConfig),
    "svamp": (Svamp, PublishedConfig),
}


def task_settings(name: str) -> type:
    """The dataclass of a task's settings. Raises UserError if there is no such task."""
    if name not in TASKS:
        raise UserError(f"there is no task {name!r}{near(name, TASKS)}")
    return TASKS[name][1]


def load_task(name: str, settings: Mapping[str, Any] | None = None) -> Task:
    """Makes a task.

    Args:
      name: a key of `TASKS`.
      settings: values that differ from the defaults. A leading `~` becomes the home directory.

    Raises:
      UserError: there is no such task or setting, or a value has the wrong type or range.
    """
    config = task_settings(name)
    settings = {
        key: os.path.expanduser(value) if isinstance(value, str) else value
        for key, value in (settings or {}).items()
    }
    types = {field.name: field.type for field in dataclasses.fields(config)}
    for key, value in settings.items():
        if key not in types:
            raise UserError(f"task {name} has no setting {key!r}{near(key, types)}")
        wanted = (int, float) if types[key] is float else types[key]
        if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
            raise UserError(f"task.{key}={value!r} must be of type {types[key].__name__}")
    return TASKS[name][0](config(**settings))
