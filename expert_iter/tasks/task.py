"""The interface of a task: problems, and verdicts on solutions."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Question:
    """A problem without its answer: all that a network, or an evaluated search, sees of it.

    Attributes:
      id: unique within its split.
      prompt: the text that a solution continues.
      begun: the end of `prompt` that is the beginning of a solution already.
    """

    id: str
    prompt: str
    begun: str = ""


@dataclass(frozen=True)
class Problem:
    """A question with what its verifier needs. The answer never reaches the network.

    Attributes:
      id: unique within its split.
      prompt: the text that a solution continues.
      answer: of a type of the task; None if no answer is known, as for a typed word problem.
      place: where it was read, as in "FILE, line 3", or ''. Ignored in comparisons.
    """

    id: str
    prompt: str
    answer: Any
    place: str = field(default="", compare=False)

    @property
    def name(self) -> str:
        """How messages name it: by its place, else by its id."""
        return self.place or f"problem {self.id}"

    @property
    def question(self) -> Question:
        return Question(self.id, self.prompt)


class Task(Protocol):
    """A set of problems with a verifier. It handles text only: no tokens, no network.

    A task may also have `relabel(problem, solution) -> tuple[Problem, str] | None`: of a finished
    or unfinished solution of a training problem, the problem that it does solve, and the solution
    as its text. None where it solves none, or a problem that is held out (hindsight, Andrychowicz
    et al. 2017).

    Attributes:
      name: its key in `TASKS`.
      in_process: whether verdicts are cheap and safe enough for this process. Those of other tasks
        come from worker processes.
      world: who answers steps (see `tasks.world`). None, or no such attribute, in most tasks.
    """

    name: str
    in_process: bool

    def problems(self, split: str) -> Sequence[Problem]:
        """The problems of 'train', 'validation' or 'test', the same in each run."""

    def read(self, path: str | os.PathLike) -> list[Problem]:
        """Reads problems from a JSONL or CSV file. Raises UserError, naming the line."""

    def parse(self, text: str) -> Problem:
        """A problem that a user typed.

        Its `answer` is None if the text does not give it; do not ask for a verdict then.

        Raises:
          UserError: the text is not a problem.
        """

    def example(self) -> str:
        """The first test problem, as one line for `parse`."""

    def prepare(self) -> None:
        """Does slow work, such as an import, before the first verdict."""

    def verdict(self, problem: Problem, solution: str) -> bool:
        """Whether the solution is right, by its text alone. A malformed one is wrong."""

    def answer(self, question_prompt: str, solution: str) -> str | None:
        """The answer that the solution proposes, right or wrong, for a majority vote.

        Equal answers give equal strings. None if the solution has no readable answer.
        """

    def demonstration(self, problem: Problem, rng: np.random.Generator) -> str:
        """A finished text for the warm start.

        It is random legal play where the task can generate that: it shows the format but rarely
        solves the problem. Other tasks give the problem's written solution.

        Raises:
          UserError: the problem has no written solution.
        """

    def is_legal(self, problem: Problem, solution: str) -> bool:
        """Whether the solution is well-formed, right or wrong.

        In number games: finished, with legal steps. In words: with a readable final answer. Code:
        it parses.
        """

    def symbols(self) -> list[str]:
        """Strings that a tokenizer should keep as single tokens."""

    def sample_texts(self, n: int, seed: int) -> list[str]:
        """`n` training prompts with demonstrations, to train a tokenizer."""
