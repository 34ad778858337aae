"""A verifier's mistakes: its verdicts beside labels that somebody else gave.

Labelled files are JSONL or CSV, in one of two forms.

- GSM8K's published model solutions: `question`, `ground_truth`, and under any other names, one a
  model, objects of `solution` and `is_correct`.
- Plain rows: the fields of the task's own problems, which are `question` and `answer` for most,
  and `solution` and `is_correct`.
"""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expert_iter.tasks import Problem, Task
from expert_iter.tasks.files import read_records
from expert_iter.tasks.verifier.pool import Verifier
from expert_iter.tasks.words.answers.final_answer import last_line

_SHOWN = 72  # characters of a solution's last line, and of an answer
_TRUTHS = {"true": True, "1": True, "false": False, "0": False}  # as CSV holds them


@dataclass(frozen=True)
class Labelled:
    """A solution with its label. `gold` is the last line of the answer in the file, for people."""

    problem: Problem
    gold: str
    solution: str
    is_correct: bool


@dataclass(frozen=True)
class ErrorBudget:
    """What came of judging; `seconds` is the time that the verdicts took, by the clock."""

    judged: int
    false_positives: list[Labelled]
    false_negatives: list[Labelled]
    seconds: float

    @property
    def agreement(self) -> float:
        """Verdicts that equal their label, in percent, rounded down: 100 if there is no mistake."""
        mistakes = len(self.false_positives) + len(self.false_negatives)
        return (self.judged - mistakes) * 10_000 // self.judged / 100


def read_labelled(path: str | os.PathLike, task: Task) -> list[Labelled]:
    """The labelled solutions of a file.

    A problem's id is its record's, or the name and line of the file; where the solution has a
    model's name, that follows. Raises UserError naming the file, and the line of a damaged row.
    """
    name = Path(path).name

    def convert(record: dict[str, Any], line: int) -> list[Labelled]:
        return _labelled(record, str(record.get("id", f"{name}:{line}")), task)

    return [row for rows in read_records(path, convert) for row in rows]


def error_budget(verdicts: Verifier, rows: Sequence[Labelled]) -> ErrorBudget:
    """Asks the task's verifier about every row; there must be a row."""
    start = time.perf_counter()
    given = verdicts.verify([row.problem for row in rows], [row.solution for row in rows])
    seconds = time.perf_counter() - start
    judged = list(zip(rows, given, strict=True))
    return ErrorBudget(
        len(rows),
        [row for row, verdict in judged if verdict and not row.is_correct],
        [row for row, verdict in judged if row.is_correct and not verdict],
        seconds,
    )


def terminal(budget: ErrorBudget, task: Task) -> str:
    """Every mistake with the last line of its solution, and a line that sums up."""
    parts = []
    for title, rows in (
        ("False positives: the verifier says right, the label wrong.", budget.false_positives),
        ("False negatives: the verifier says wrong, the label right.", budget.false_negatives),
    ):
        if rows:
            parts.append("\n".join([title, *(_case(row, task) for row in rows)]))
    rate = budget.judged / max(budget.seconds, 1e-9)
    parts.append(
        f"{budget.judged:,} judged, {budget.agreement:.2f}% agree; "
        f"{len(budget.false_positives)} false positives, "
        f"{len(budget.false_negatives)} false negatives; "
        f"{budget.seconds:.2f} s, {rate:,.0f} verdicts a second"
    )
    return "\n\n".join(parts)


def _labelled(record: dict[str, Any], id: str, task: Task) -> list[Labelled]:
    """Raises ValueError saying what is wrong with the record."""
    models = {
        key: value
        for key, value in record.items()
        if isinstance(value, Mapping) and {"solution", "is_correct"} <= value.keys()
    }
    labels = {f"{id} {model}": label for model, label in models.items()}
    if {"solution", "is_correct"} <= record.keys():
        labels[id] = record
    if not labels:
        raise ValueError("there is neither `solution` with `is_correct` nor an object of the two")
    fields = {
        key: value
        for key, value in record.items()
        if key not in models and key not in ("solution", "is_correct", "ground_truth")
    }
    if "ground_truth" in record:
        fields.setdefault("answer", record["ground_truth"])
    rows = []
    for id, label in labels.items():
        problem = task.problem_of(fields, id)
        gold = last_line(str(fields.get("answer", problem.answer)))
        rows.append(Labelled(problem, gold, _text(label["solution"]), _truth(label)))
    return rows


def _text(solution: Any) -> str:
    if not isinstance(solution, str):
        raise ValueError("`solution` is not text")
    return solution


def _truth(label: Mapping[str, Any]) -> bool:
    value = label["is_correct"]
    if isinstance(value, str):
        value = _TRUTHS.get(value.strip().lower())
    if not isinstance(value, bool):
        raise ValueError("`is_correct` is neither true nor false")
    return value


def _case(row: Labelled, task: Task) -> str:
    proposed = task.answer(row.problem.prompt, row.solution)
    return (
        f"  {row.problem.id}: gold {_shown(row.gold)}, "
        f"proposed {'none' if proposed is None else _shown(proposed)}\n"
        f"    {_shown(last_line(row.solution))}"
    )


def _shown(text: str) -> str:
    text = "".join(mark if mark.isprintable() else "\N{REPLACEMENT CHARACTER}" for mark in text)
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "...")
