"""The data sets of reasoning-gym (Stojanovski et al. 2025, arXiv 2505.24760): puzzles from a seed.

The package has about a hundred of them, in arithmetic, algebra, logic, graphs, games and more, each
with a scorer. It is an extra: pip install 'expert_iter[gym]'.
"""

import dataclasses
import functools
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from expert_iter.errors import UserError
from expert_iter.range_checks import Checks
from expert_iter.tasks.gym.entries import (
    LARGEST,
    ORDER,
    draw_in_process,
    known_answer,
    open_dataset,
)
from expert_iter.tasks.gym.evaluated import is_safe
from expert_iter.tasks.task import Problem
from expert_iter.tasks.words.rows import Row, answer_field, answer_line, text_field
from expert_iter.tasks.words.text_config import TextConfig
from expert_iter.tasks.words.text_task import TextTask

_TOLERANCE = 1e-6  # of scores, which are floats


@dataclasses.dataclass(frozen=True)
class ReasoningGymConfig(TextConfig):
    """The settings of reasoning-gym's data sets, besides those of `TextConfig`.

    Attributes:
      dataset: name of a data set, such as chain_sum.
      options: a JSON object with settings of the data set, such as {"min_terms": 3}; '' for none.
      threshold: least score of a right answer. Scores are between 0 and 1. Below 1, answers that
        are right in part count as right.
      seed: of the problems.
      train_size, validation_size, test_size: how many problems there are.
    """

    dataset: str = ""
    options: str = ""
    threshold: float = 1.0
    seed: int = 0
    train_size: int = 2000
    validation_size: int = 200
    test_size: int = 200

    def __post_init__(self):
        super().__post_init__()
        check = Checks("task", self)
        check.between(0.01, 1, "threshold")
        check.between(0, 1000, "seed")
        check.between(1, LARGEST, "train_size", "validation_size", "test_size")
        if self.drop_contaminated:
            raise UserError(
                "task.drop_contaminated=true would drop all: the questions of a data set share "
                "their wording, and none occurs twice"
            )
        options_of(self.options)


class ReasoningGym(TextTask):
    """Problems of one data set; verdicts by its scorer.

    The answer of a solution is the text behind the last ####: grids have several lines. A
    demonstration is the answer alone, for the data sets have no written solutions.

    Verdicts come from worker processes, for scorers take answers at their word: that of rubiks_cube
    turns a face as many times as the answer says, and SymPy simplifies whatever it can read.
    """

    name = "reasoning_gym"
    kind = "exact"

    def files(self, split: str) -> list[Path]:
        raise UserError("problems of reasoning-gym are made, not read")

    def rows_of_files(self, split: str) -> list[Row]:
        config = self.config
        needed = ORDER[: ORDER.index(split) + 1]
        sizes = {name: getattr(config, f"{name}_size") for name in needed}
        made = draw_in_process(config.dataset, options_of(config.options), config.seed, sizes)
        return [
            _row(f"{split}-{i}", entry.question, entry.answer, entry.pickled)
            for i, entry in enumerate(made[split])
        ]

    def row_of(self, record: Mapping[str, Any], id: str) -> Row:
        """Reads `question`, `answer` and the `metadata` that many scorers need."""
        question, metadata = text_field(record, "question"), record.get("metadata") or {}
        if not isinstance(metadata, dict):
            raise ValueError("`metadata` is not an object")
        answer = None if record.get("answer") is None else answer_field(record, "answer")
        numbers = json.dumps(metadata, default=lambda number: json.loads(number.text))
        entry = {"question": question, "answer": answer, "metadata": json.loads(numbers)}
        return _row(id, question.strip(), known_answer(entry), pickle.dumps(entry))

    def prepare(self) -> None:
        """Imports the package, which takes seconds."""
        super().prepare()
        _ = self._scorer

    def verdict(self, problem: Problem, solution: str) -> bool:
        """Whether the data set gives the solution's answer a score of at least `threshold`."""
        answer = self.answer(problem.prompt, solution)
        if problem.answer is None or answer is None or not is_safe(answer, self.config.dataset):
            return False
        entry = pickle.loads(problem.answer.answer)
        try:
            score = self._scorer.score_answer(answer, entry)
        except MemoryError:
            raise
        except Exception:  # some scorers raise where they cannot read an answer
            return False
        return score >= self.config.threshold - _TOLERANCE

    def answer(self, question_prompt: str, solution: str) -> str | None:
        """The text behind the last ####."""
        _, mark, answer = solution.rpartition("####")
        return (mark and answer.strip()) or None

    def is_legal(self, problem: Problem, solution: str) -> bool:
        return self.answer(problem.prompt, solution) is not None

    @functools.cached_property
    def _scorer(self) -> Any:
        return open_dataset(self.config.dataset, options_of(self.config.options))


def options_of(text: str) -> dict[str, Any]:
    """The object that `task.options` holds. Raises UserError."""
    try:
        options = json.loads(text) if text else {}
    except ValueError:
        options = None
    if not isinstance(options, dict):
        raise UserError(f'task.options={text!r} is not a JSON object, such as {{"min_terms": 3}}')
    return options


def _row(id: str, question: str, answer: str, pickled: bytes) -> Row:
    """The row of a problem. Its solution is the answer; none if no answer is known."""
    return Row(id, question, pickled, answer_line(answer, "exact") if answer else "")
