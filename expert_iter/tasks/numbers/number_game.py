"""The base class of Countdown and the Game of 24: tasks of numbers and a target."""

import abc
import functools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from expert_iter.errors import UserError
from expert_iter.tasks.files import read_records
from expert_iter.tasks.numbers import arithmetic
from expert_iter.tasks.numbers.arithmetic import Goal
from expert_iter.tasks.numbers.rules import NumberRules
from expert_iter.tasks.task import SPLITS, Problem

MOST_NUMBERS = 8  # in a problem
MOST_VALUE = 999_999  # of a number: bounds the vocabulary
NETWORK, WORLD = "network", "world"  # who computes results (the setting `rules`)


class NumberGame(abc.ABC):
    """A `Task` without problems. A subclass defines its name, settings and goals."""

    name: str
    in_process = True
    splits = SPLITS
    fields = ("numbers", "target")  # of a record, beside its `id`
    dataset_setting = "data_dir"
    default_target: int | None = None

    def __init__(self, config: Any, max_value: int, max_denominator: int):
        """A task of these settings.

        Args:
          config: the task's settings. With `data_dir` the problems come from a TFDS dataset, else
            they are made in memory; they are the same.
          max_value: largest number in random play and in the vocabulary. Solutions may exceed it.
          max_denominator: largest denominator in random play. Solutions may exceed it.
        """
        self.config = config
        self.world = NumberRules() if getattr(config, "rules", NETWORK) == WORLD else None
        self._max_value = max_value
        # Hindsight makes no problem with a target beyond these.
        self._targets = range(
            getattr(config, "min_target", 1), getattr(config, "max_target", max_value) + 1
        )
        self._max_denominator = max_denominator

    @abc.abstractmethod
    def make_goals(self) -> dict[str, list[Goal]]:
        """The goals of each split, from the settings alone."""

    @functools.cached_property
    def _problems(self) -> dict[str, list[Problem]]:
        if self.config.data_dir:
            from expert_iter.tasks import builders  # imports TFDS, which few runs need

            return {
                split: [self.problem_of(record, record["id"]) for record in records]
                for split, records in builders.load_records(self).items()
            }
        return {
            split: [make_problem(goal, f"{split}-{i}") for i, goal in enumerate(goals)]
            for split, goals in self.make_goals().items()
        }

    def dataset_key(self) -> tuple[dict[str, Any], list[Path]]:
        """The settings and the files that the records depend on."""
        elsewhere = self.dataset_setting, "rules"
        settings = {k: v for k, v in vars(self.config).items() if k not in elsewhere}
        names = [value for value in settings.values() if isinstance(value, str)]
        return settings, [path for path in map(Path, names) if path.is_file()]

    def records(self, split: str) -> Iterator[dict[str, str]]:
        """The problems as text fields, from which `problem_of` restores them."""
        for problem in self.problems(split):
            numbers, target = problem.answer
            yield {"id": problem.id, "numbers": " ".join(map(str, numbers)), "target": str(target)}

    def problem_of(self, record: Mapping[str, Any], id: str) -> Problem:
        """The problem of a record. Raises ValueError, with the reason, for an invalid one."""
        return make_problem(self.goal_of(record), id)

    def problems(self, split: str) -> Sequence[Problem]:
        if split not in SPLITS:
            raise UserError(f"split {split!r} is none of {', '.join(SPLITS)}")
        return self._problems[split]

    def goal_of(self, record: Mapping[str, Any]) -> Goal:
        """The goal of a record. Raises ValueError, with the reason, for an invalid one."""
        for numbers_field, target_field in (("numbers", "target"), ("input", "output")):
            if numbers_field in record:
                target = record.get(target_field, self.default_target)
                if target is None:
                    raise ValueError(f"there is no `{target_field}`")
                return make_goal(record[numbers_field], target)
        raise ValueError("there is neither `numbers` and `target` nor `input` and `output`")

    def read(self, path: str | os.PathLike) -> list[Problem]:
        """Reads records of `numbers` ("3 5 7", "3,5,7" or a list), `target`, and optionally `id`.

        The names `input` and `output` also work.
        """
        name = Path(path).name
        return read_records(
            path,
            lambda record, line: self.problem_of(record, str(record.get("id", f"{name}:{line}"))),
        )

    def parse(self, text: str) -> Problem:
        """Parses `3 5 7 -> 15` or `3,5,7 = 15`."""
        numbers, arrow, target = re.sub("->|=", "->", text, count=1).partition("->")
        if not arrow:
            target = self.default_target
        try:
            if target is None:
                raise ValueError("there is no target")
            return make_problem(make_goal(numbers, target), "typed")
        except ValueError as error:
            raise UserError(
                f"{text.strip()[:60]!r} is not a problem: {error}; write it like '3 5 7 -> 15'"
            ) from None

    def example(self) -> str:
        return self.problems("test")[0].prompt.strip()

    def prepare(self) -> None:  # noqa: B027 (few games need it)
        """Does nothing: the first verdict needs no slow work."""

    def verdict(self, problem: Problem, solution: str) -> bool:
        numbers, target = problem.answer
        return arithmetic.final_value(numbers, solution) == target

    def is_legal(self, problem: Problem, solution: str) -> bool:
        return arithmetic.final_value(problem.answer.numbers, solution) is not None

    def answer(self, question_prompt: str, solution: str) -> str | None:
        return arithmetic.proposal(self.parse(question_prompt).answer.numbers, solution)

    def demonstration(self, problem: Problem, rng: np.random.Generator) -> str:
        """Random legal play, which shows rules and format and rarely reaches the target."""
        numbers = problem.answer.numbers
        play = arithmetic.random_play(numbers, rng, self._max_value, self._max_denominator)
        return self.world.retold(problem.prompt, play) if self.world else play

    def relabel(self, problem: Problem, solution: str) -> tuple[Problem, str] | None:
        """The problem of the same numbers whose target is what the solution comes to. Its numbers
        are those of a training problem, so it is not held out.
        """
        numbers = problem.answer.numbers
        value = arithmetic.final_value(numbers, solution)
        if not isinstance(value, int) or value not in self._targets:
            return None
        return make_problem(Goal(numbers, value), problem.id), solution

    def symbols(self) -> list[str]:
        """One piece for each integer, and operators with the spaces around them."""
        marks = [f" {mark} " for mark in (*arithmetic.OPERATORS, "=", ":", "->")]
        return [*map(str, range(self._max_value + 1)), *marks, " ", "/", "-", "\n"]

    def sample_texts(self, n: int, seed: int) -> list[str]:
        rng = np.random.default_rng(seed)
        problems = self.problems("train")
        chosen = (problems[i] for i in rng.integers(len(problems), size=n))
        return [problem.prompt + self.demonstration(problem, rng) for problem in chosen]


def make_problem(goal: Goal, id: str) -> Problem:
    return Problem(id, arithmetic.prompt(goal), goal)


def make_goal(numbers: Any, target: Any) -> Goal:
    """A goal from numbers in a string or a list. Raises ValueError, with the reason, if invalid."""
    if isinstance(numbers, str):
        numbers = re.split(r"\s*,\s*|\s+", numbers.strip())
    if not isinstance(numbers, list) or not 2 <= len(numbers) <= MOST_NUMBERS:
        raise ValueError(f"there must be 2 to {MOST_NUMBERS} numbers")
    return Goal(tuple(map(whole_number, numbers)), whole_number(target))


def whole_number(value: Any) -> int:
    """Reads a number or a text. Raises ValueError, with the reason, if it is invalid."""
    text = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch("[0-9]{1,9}", text) or int(text) > MOST_VALUE:
        raise ValueError(f"{text[:40]!r} is not a whole number from 0 to {MOST_VALUE}")
    return int(text)
