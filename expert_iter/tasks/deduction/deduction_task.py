"""The base class of deduction tasks: problems made from a seed, or published ones."""

import abc
import dataclasses
import functools
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from expert_iter.errors import UserError
from expert_iter.range_checks import Checks
from expert_iter.tasks.deduction import solution
from expert_iter.tasks.deduction.language import Language
from expert_iter.tasks.deduction.world import DeductionWorld
from expert_iter.tasks.files import read_records
from expert_iter.tasks.task import SPLITS, Problem
from expert_iter.tasks.words.published_files import Published, read_published
from expert_iter.tasks.words.questions import share_of
from expert_iter.tasks.words.rows import text_field

MOST_HOPS = 12
_LETTERS = {"True": "A", "False": "B", "Unknown": "C"}  # in the published files


@dataclasses.dataclass(frozen=True)
class DeductionConfig:
    """The problems of deduction tasks.

    Attributes:
      seed: of the problems that are made. In which split a theory is does not depend on it.
      min_hops, max_hops: range of the length of the shortest proof, ends included, in problems that
        are made. Each length is as frequent.
      demonstrations: 'play': random legal steps and a random answer, which rarely are a proof.
        'gold': a proof.
      train_size: training problems. Published ones come first, the others are made.
      validation_size, test_size: held-out problems; an upper limit where they are published.
      data_dir: directory of the published files. Problems of a published theory are then not made.
        Empty: all problems are made.
      verify_files: whether to check the files' rows and checksums. Turn it off for a file that you
        have changed.
    """

    seed: int = 0
    min_hops: int = 5
    max_hops: int = 5
    demonstrations: str = "play"
    train_size: int = 4000
    validation_size: int = 300
    test_size: int = 600
    data_dir: str = ""
    verify_files: bool = True

    fewest_hops = 1  # that a problem can have

    def __post_init__(self):
        check = Checks("task", self)
        check.between(0, 2**32 - 1, "seed")
        check.between(self.fewest_hops, MOST_HOPS, "min_hops")
        check.between(self.min_hops, MOST_HOPS, "max_hops")
        check.one_of("demonstrations", "play", "gold")
        check.between(1, 1_000_000, "train_size", "validation_size", "test_size")


class DeductionTask(abc.ABC):
    """A `Task` whose subclass defines the language and makes prompts.

    A text is right if it is a proof: each step follows from facts, rules and earlier steps, the
    answer is the problem's, and what it says was derived. So an answer by chance is never right.
    Splits share no theory, that is no set of facts and rules, and no two problems that are made
    have the same one.

    Attributes:
      name: its key in `TASKS`.
      language: of the prompts and steps.
      published: the published file of a split, if it has one.
      dropped: how many problems were made but not used, because their theory is published. Known
        from the first call of `problems` on.
    """

    name: str
    in_process = True
    language: Language
    published: Mapping[str, Published] = {}

    def __init__(self, config: DeductionConfig):
        self.config = config
        self.world = DeductionWorld(self.language)
        self.dropped = 0

    @abc.abstractmethod
    def draw(self, rng: np.random.Generator, hops: int) -> str | None:
        """A random problem whose shortest proof has `hops` hops.

        Returns:
          Its text, as `parse` takes it; None if the try failed.
        """

    def problem_of(self, record: Mapping[str, Any], id: str) -> Problem:
        """Reads `context`, `question` and `answer`, a letter of `_LETTERS`.

        Raises:
          ValueError: a field is missing, or another answer follows from the rules.
        """
        text = f"{text_field(record, 'context')} {text_field(record, 'question')}"
        problem = self._problem(self.language.prompt(text), id)
        right = _LETTERS[problem.answer]
        if str(record.get("answer")).strip() != right:
            raise ValueError(f"`answer` is not {right}, which follows from facts and rules")
        return problem

    # Problems.

    def problems(self, split: str) -> Sequence[Problem]:
        if split not in SPLITS:
            raise UserError(f"split {split!r} is none of {', '.join(SPLITS)}")
        return self._problems[split]

    @functools.cached_property
    def _problems(self) -> dict[str, list[Problem]]:
        problems = {}
        for split in SPLITS:
            size = getattr(self.config, f"{split}_size")
            problems[split] = self._published_problems[split][:size]
        wanted = {
            split: getattr(self.config, f"{split}_size") - len(found)
            for split, found in problems.items()
            if split == "train" or not found
        }
        for split, made in self._make(wanted).items():
            problems[split] += made
        return problems

    @functools.cached_property
    def _published_problems(self) -> dict[str, list[Problem]]:
        found = {split: [] for split in SPLITS}
        for split, file in self.published.items() if self.config.data_dir else ():
            numbers, stem = itertools.count(), Path(file.name).stem

            def convert(record, place, numbers=numbers, stem=stem):
                id = str(record.get("id", f"{stem}-{next(numbers)}"))
                return dataclasses.replace(self.problem_of(record, id), place=place)

            found[split] = read_published(
                self.config.data_dir, file, convert=convert, verify=self.config.verify_files
            )
        return found

    def _make(self, wanted: Mapping[str, int]) -> dict[str, list[Problem]]:
        """So many problems of each split. Theories are split by a hash."""
        published = {
            self._theory(problem)
            for found in self._published_problems.values()
            for problem in found
        }
        made = {split: {} for split in wanted}
        for text in self._draws():
            prompt = self.language.prompt(text)
            theory = self.language.puzzle(prompt).theory.key
            if theory in published:
                self.dropped += 1
                continue
            share = share_of(theory)
            split = "test" if share < 0.12 else "validation" if share < 0.2 else "train"
            if len(made.get(split, ())) < wanted.get(split, 0):
                made[split].setdefault(theory, prompt)
            if all(len(made[split]) == wanted[split] for split in wanted):
                break
        return {
            split: [
                self._problem(prompt, f"{split}-{i}") for i, prompt in enumerate(found.values())
            ]
            for split, found in made.items()
        }

    def _draws(self) -> Iterator[str]:
        config, rng = self.config, np.random.default_rng(self.config.seed)
        while True:
            hops = int(rng.integers(config.min_hops, config.max_hops, endpoint=True))
            text = None
            while text is None:  # each number of hops is as frequent, however many tries it needs
                text = self.draw(rng, hops)
            yield text

    def _theory(self, problem: Problem) -> str:
        return self.language.puzzle(problem.prompt).theory.key

    def _problem(self, prompt: str, id: str) -> Problem:
        """Raises ValueError unless one answer follows."""
        return Problem(id, prompt, self.language.puzzle(prompt).right_answer())

    def read(self, path: str | os.PathLike) -> list[Problem]:
        """Reads records in the format of the published files, which may also have an `id`."""
        name = Path(path).name

        def convert(record, line):
            problem = self.problem_of(record, str(record.get("id", f"{name}:{line}")))
            return dataclasses.replace(problem, place=f"{path}, line {line}")

        return read_records(path, convert)

    def parse(self, text: str) -> Problem:
        """Facts, rules and the question, on one line or more. The rules give the answer."""
        try:
            return self._problem(self.language.prompt(text), "typed")
        except ValueError as error:
            raise UserError(
                f"{' '.join(text.split())[:60]!r} is not a problem: {error}; "
                f"write it like {self.language.example!r}"
            ) from None

    def example(self) -> str:
        return " ".join(self.problems("test")[0].prompt.split())

    def prepare(self) -> None:  # noqa: B027 (some tasks need it)
        """Does nothing: the first verdict needs no slow work."""

    # Solutions.

    def verdict(self, problem: Problem, solution_text: str) -> bool:
        found = solution.read(self.language, problem.prompt, solution_text)
        if found.known is None or found.answer != problem.answer:
            return False
        return self.language.puzzle(problem.prompt).is_proved(found.answer, found.known)

    def is_legal(self, problem: Problem, solution_text: str) -> bool:
        """Whether legal steps end with an answer, proved or not."""
        found = solution.read(self.language, problem.prompt, solution_text)
        return found.known is not None and found.answer is not None

    def answer(self, question_prompt: str, solution_text: str) -> str | None:
        return solution.read(self.language, question_prompt, solution_text).answer

    def demonstration(self, problem: Problem, rng: np.random.Generator) -> str:
        if self.config.demonstrations == "gold":
            return solution.gold(self.language, problem.prompt, problem.answer)
        return solution.random_play(self.language, problem.prompt, rng)

    def symbols(self) -> list[str]:
        return self.language.symbols()

    def sample_texts(self, n: int, seed: int) -> list[str]:
        rng = np.random.default_rng(seed)
        problems = self.problems("train")
        chosen = (problems[i] for i in rng.integers(len(problems), size=n))
        return [problem.prompt + self.demonstration(problem, rng) for problem in chosen]
