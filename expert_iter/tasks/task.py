"""What a task is: problems, and the judge of what is written about them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from expert_iter.errors import UserError

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Question:
    """All that a network, or a search that is being evaluated, ever sees of a problem."""

    id: str
    prompt: str


@dataclass(frozen=True)
class Problem:
    """A question with what its verifier needs to know; `answer` never reaches the network.

    It is None where no answer is known, as for a word problem that somebody typed. `place` is where
    it was read, "FILE, line 3", or '' if that is not known; it makes no other problem.
    """

    id: str
    prompt: str
    answer: Any
    place: str = field(default="", compare=False)

    @property
    def name(self) -> str:
        """For people: its place, or else its id."""
        return self.place or f"problem {self.id}"

    @property
    def question(self) -> Question:
        return Question(self.id, self.prompt)


class Task(Protocol):
    """A world of problems. It deals in text alone: no tokens, no network."""

    name: str
    # Whether verdicts are cheap and safe enough to be given in this process; others go to worker
    # processes.
    in_process: bool

    def problems(self, split: str) -> Sequence[Problem]:
        """Those of 'train', 'validation' or 'test': the same, in the same order, each time."""

    def read(self, path: str | os.PathLike) -> list[Problem]:
        """Problems from a JSONL or CSV file. Raises UserError with the file and the line."""

    def parse(self, text: str) -> Problem:
        """A problem as a person types it. Raises UserError if it is none.

        Its `answer` is None where the text tells none; its verdict must then not be asked for.
        """

    def example(self) -> str:
        """The first test problem, on one line, as `parse` takes it."""

    def prepare(self) -> None:
        """Does now what the first verdict would otherwise wait for, such as an import."""

    def verdict(self, problem: Problem, solution: str) -> bool:
        """Whether the solution is right, by its text alone; a malformed one is wrong, no error."""

    def answer(self, question_prompt: str, solution: str) -> str | None:
        """What the solution proposes, for a majority vote: equal proposals give equal strings.

        None if it cannot be read. Says nothing about whether the proposal is right.
        """

    def demonstration(self, problem: Problem, rng: np.random.Generator) -> str:
        """A finished text that a warm start learns from.

        Random legal play where the task can make it (rules and format, no solutions), else the
        solution that came with the problem. Raises UserError if none came with it.
        """

    def is_legal(self, problem: Problem, solution: str) -> bool:
        """Whether each step is legal and the solution is finished, whatever it reaches.

        Of words: whether a final answer can be read from it; of code: whether it parses.
        """

    def symbols(self) -> list[str]:
        """Pieces of text that a tokenizer should keep whole."""

    def sample_texts(self, n: int, seed: int) -> list[str]:
        """`n` training prompts, each with a demonstration, to train a tokenizer on."""


def check(key: str, value: Any, least: float, most: float) -> None:
    """Raises UserError unless `least <= value <= most`; `key` is the setting's name in its task."""
    if not least <= value <= most:
        raise UserError(f"task.{key}={value} is out of range: use {least} to {most}")
