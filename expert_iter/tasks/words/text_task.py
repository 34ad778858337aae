"""The base class of text tasks: questions in words. A subclass reads the rows."""

import abc
import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from expert_iter.errors import UserError
from expert_iter.tasks.files import read_records
from expert_iter.tasks.task import SPLITS, Problem
from expert_iter.tasks.words import prompts, verdict
from expert_iter.tasks.words.contamination import contaminated
from expert_iter.tasks.words.questions import normalised
from expert_iter.tasks.words.rows import CODE, Gold, Row
from expert_iter.tasks.words.tools import CALCULATOR, NONE, PYTHON, make_tool
from expert_iter.tasks.words.tools.calculator import annotated

if TYPE_CHECKING:
    from expert_iter.tasks.words.chat_template import ChatTemplate


class TextTask(abc.ABC):
    """A `Task` whose subclass reads the rows. The `answer` of its problems is a `Gold`.

    Attributes:
      name: its key in `TASKS`.
      kind: of its answers: one of `answers.ANSWER_TYPES`, or 'code'.
      in_process: see `Task`.
      world: the tool of `task.tools`, or None.
      fields: of a stored record, besides `id`.
      dataset_setting: the setting with the directory of the TFDS dataset.
      row_settings: the settings that the rows depend on, besides the names of files.
    """

    name: str
    kind: str
    in_process = False
    fields = ("question", "answer", "solution")
    dataset_setting = "tfds_dir"
    row_settings: tuple[str, ...] = ()

    def __init__(self, config: Any):
        if config.tools != NONE and self.kind == CODE:
            raise UserError(f"task.tools={config.tools} is not for programs: set none")
        self.config = config
        self.world = make_tool(config.tools, config.tool_characters)
        self._rows: dict[str, list[Row]] = {}
        self._problems: dict[str, list[Problem]] = {}

    # A subclass defines these.

    @abc.abstractmethod
    def files(self, split: str) -> list[Path]:
        """The files of a split. Raises UserError if the split has none."""

    @abc.abstractmethod
    def rows_of_files(self, split: str) -> list[Row]:
        """Reads a split's rows, in order. Raises UserError, naming the file and the line."""

    @abc.abstractmethod
    def row_of(self, record: Mapping[str, Any], id: str) -> Row:
        """The row of a record. Raises ValueError, with the reason, for an invalid one."""

    def asked(self, row: Row) -> str:
        """The question as a prompt shows it."""
        return row.question

    def shot_rows(self) -> Sequence[Row]:
        """The rows from which few-shot examples are chosen."""
        return self._kept("train")

    @property
    def wording(self) -> prompts.Wording:
        return prompts.WORDINGS[self.kind]

    # Rows and problems.

    def rows(self, split: str) -> list[Row]:
        """All rows of a split, before `drop_contaminated` and the sizes apply."""
        if split not in self._rows:
            stored = self._dataset if self.config.tfds_dir and self._has(split) else {}
            self._rows[split] = stored.get(split) or self.rows_of_files(split)
        return self._rows[split]

    def problems(self, split: str) -> Sequence[Problem]:
        if split not in SPLITS:
            raise UserError(f"split {split!r} is none of {', '.join(SPLITS)}")
        if split not in self._problems:
            size = getattr(self.config, f"{split}_size")
            rows = self._kept(split)[: size or None]
            if not rows:
                raise UserError(f"task {self.name} has no {split} problems in its files")
            self._problems[split] = [self._problem(row) for row in rows]
        return self._problems[split]

    def row_at(self, record: Mapping[str, Any], id: str, place: str) -> Row:
        """`row_of`, with the place of the record."""
        return dataclasses.replace(self.row_of(record, id), place=place)

    def problem_of(self, record: Mapping[str, Any], id: str) -> Problem:
        """The problem of a record. Raises ValueError, with the reason, for an invalid one."""
        return self._problem(self.row_of(record, id))

    def read(self, path: str | os.PathLike) -> list[Problem]:
        """Reads records in the format of the task's files, which may also have an `id`."""
        name = Path(path).name

        def convert(record, line):
            id = str(record.get("id", f"{name}:{line}"))
            return self._problem(self.row_at(record, id, f"{path}, line {line}"))

        return read_records(path, convert)

    def parse(self, text: str) -> Problem:
        """The text is the question. Its answer is not known, so `answer` is None."""
        if not text.strip():
            raise UserError("the problem is empty: type a question")
        row = Row("typed", text.strip(), "", "")
        return Problem(row.id, self._prompt(row, row.question), None)

    def example(self) -> str:
        return " ".join(self._kept("test")[0].question.split())

    # Verdicts and solutions.

    def prepare(self) -> None:
        if self.config.tools == PYTHON:
            self.world.prepare()
        if self.kind == "math":
            import math_verify  # noqa: F401  (takes a second, not to count in a verdict)

    def verdict(self, problem: Problem, solution: str) -> bool:
        """Whether the solution is right; False if the problem's answer is not known."""
        if problem.answer is None:
            return False
        return verdict.is_right(problem.answer.answer, solution, self.kind)

    def answer(self, question_prompt: str, solution: str) -> str | None:
        return verdict.proposal(solution, self.kind)

    def is_legal(self, problem: Problem, solution: str) -> bool:
        gold = None if problem.answer is None else problem.answer.answer
        return verdict.is_readable(gold, solution, self.kind)

    def demonstration(self, problem: Problem, rng: np.random.Generator) -> str:
        """The problem's written solution."""
        if problem.answer is None or not problem.answer.solution:
            raise UserError(
                f"{problem.name} has no solution to learn from: name a file of "
                "warm_start.demonstrations, or set warm_start.updates=0 and learner.rehearsal=0"
            )
        return problem.answer.solution

    def symbols(self) -> list[str]:
        return [*self.world.symbols] if self.world else []

    def sample_texts(self, n: int, seed: int) -> list[str]:
        """Prompts, each with its written solution if there is one."""
        problems = self.problems("train")
        chosen = np.random.default_rng(seed).integers(len(problems), size=n)
        return [problems[i].prompt + problems[i].answer.solution for i in chosen]

    # The TFDS dataset; see builders.py.

    @property
    def splits(self) -> list[str]:
        """The splits that have rows."""
        return [split for split in SPLITS if self._has(split) and self.rows(split)]

    def dataset_key(self) -> tuple[dict[str, Any], list[Path]]:
        """The settings and the files that the records depend on."""
        used = {split: self.files(split) for split in SPLITS if self._has(split)}
        files = list(dict.fromkeys(path for paths in used.values() for path in paths))
        settings = {key: getattr(self.config, key) for key in self.row_settings}
        settings["files"] = {s: [files.index(path) for path in paths] for s, paths in used.items()}
        return settings, files

    def records(self, split: str) -> list[dict[str, str]]:
        """A split's rows as text fields."""
        return [row.texts() for row in self.rows(split)]

    @functools.cached_property
    def _dataset(self) -> dict[str, list[Row]]:
        from expert_iter.tasks import builders  # imports TFDS, which few runs need

        return {
            split: [Row.of_texts(record, self.kind) for record in records]
            for split, records in builders.load_records(self).items()
        }

    def _has(self, split: str) -> bool:
        try:
            return all(path.is_file() for path in self.files(split))
        except UserError:
            return False

    # Prompts.

    def _kept(self, split: str) -> list[Row]:
        """A split's rows, without contaminated ones if `drop_contaminated`."""
        rows = self.rows(split)
        if split != "train" or not self.config.drop_contaminated:
            return rows
        dropped = {match.train for match in contaminated(rows, self.rows("test"))}
        return [row for row in rows if row.id not in dropped]

    def _problem(self, row: Row) -> Problem:
        solution = self._solution(row)
        if self.kind == CODE and self.config.prompt == "chat" and solution:
            solution = f"```python\n{row.answer.prefix}{solution}\n```"
        prompt = self._prompt(row, self.asked(row))
        return Problem(row.id, prompt, Gold(row.answer, solution), row.place)

    def _solution(self, row: Row) -> str:
        """The row's, as the tool would have answered it."""
        if self.config.tools != CALCULATOR:
            return row.solution
        problem = Problem(row.id, row.question, Gold(row.answer, row.solution))
        return annotated(row.solution, lambda text: self.verdict(problem, text))

    def _prompt(self, row: Row, asked: str) -> str:
        if self.config.prompt == "chat":
            message = self.wording.chat_message(asked)
            if self.world:
                message += f"\n\n{self.world.chat}"
            return self._chat_template.render(message)
        if self.config.prompt == "few_shot":
            return self.wording.few_shot_prompt(self._examples(row), asked)
        return self.wording.plain_prompt(asked)

    @functools.cached_property
    def _chat_template(self) -> "ChatTemplate":
        from expert_iter.tasks.words.chat_template import ChatTemplate  # Jinja, which few runs need

        return ChatTemplate(self.config.chat_template)

    def _examples(self, row: Row) -> list[tuple[str, str]]:
        itself = normalised(row.question)
        others = [shot for question, shot in self._shots.items() if question != itself]
        return others[: self.config.shots]

    @functools.cached_property
    def _shots(self) -> dict[str, tuple[str, str]]:
        """Examples by normalised question; one more than `shots`, to replace the problem's own."""
        rows = [row for row in self.shot_rows() if row.solution]
        order = np.random.default_rng(self.config.shots_seed).permutation(len(rows))
        shots = {}
        for row in (rows[i] for i in order):
            shots.setdefault(normalised(row.question), (self.asked(row), self._solution(row)))
            if len(shots) > self.config.shots:
                break
        if len(shots) < self.config.shots:
            raise UserError(
                f"task.shots={self.config.shots}, but there are only {len(shots)} problems with "
                "solutions to take examples from"
            )
        return shots
