"""Word problems of one to three steps, made from a seed: no file is needed."""

import dataclasses
import functools
import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from expert_iter.errors import UserError
from expert_iter.range_checks import Checks
from expert_iter.tasks.task import SPLITS
from expert_iter.tasks.words.questions import normalised, share_of
from expert_iter.tasks.words.rows import Row, answer_line, number_text, text_field
from expert_iter.tasks.words.text_config import TextConfig
from expert_iter.tasks.words.text_task import TextTask
from expert_iter.tasks.words.tools import CALCULATOR
from expert_iter.tasks.words.tools.calculator import annotation

_OPERATIONS = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.floordiv,
}
_NAMES = (
    "Ann Ben Carla Deepak Emeka Fatima Goran Hana Ivan Jun Kemi Lars Mei Nadia Omar Paula".split()
)
_THINGS = (
    "apples books buttons cards coins eggs marbles pens shells stamps stickers tickets".split()
)
_HOLDERS = "bags boxes baskets jars trays".split()


class _Story(NamedTuple):
    """A story whose numbers a, b, c, d are open.

    Attributes:
      text: with {name}, {other}, {things}, {holders} and the numbers in braces.
      steps: operations such as 'a + b'; x and y are the results of the first and the second.
    """

    text: str
    steps: tuple[str, ...]


_STORIES = (
    _Story(
        "{name} has {a} {things}. {other} gives {name} {b} more. How many {things} does {name} "
        "have now?",
        ("a + b",),
    ),
    _Story(
        "There were {a} {things} on the table. {name} took {b} of them. How many {things} are left "
        "on the table?",
        ("a - b",),
    ),
    _Story(
        "{name} has {a} {holders} with {b} {things} in each. How many {things} does {name} have?",
        ("a * b",),
    ),
    _Story(
        "{name} puts {a} {things} into {b} {holders}, the same number in each. How many {things} "
        "are in each of the {holders}?",
        ("a / b",),
    ),
    _Story(
        "{name} has {a} {things}, and {other} has {b} more than {name}. How many {things} do they "
        "have together?",
        ("a + b", "a + x"),
    ),
    _Story(
        "{name} buys {a} {holders} of {b} {things} and gives {c} {things} to {other}. How many "
        "{things} does {name} have left?",
        ("a * b", "x - c"),
    ),
    _Story(
        "{name} finds {a} {things} in the morning and {b} in the afternoon. {c} of all are broken. "
        "How many {things} are not broken?",
        ("a + b", "x - c"),
    ),
    _Story(
        "{name} and {other} collect {a} and {b} {things}. They share them equally among {c} "
        "children. How many {things} does each child get?",
        ("a + b", "x / c"),
    ),
    _Story(
        "{name} sells {a} {things} for {b} dollars each and buys a coat for {c} dollars with the "
        "money. How many dollars does {name} have left?",
        ("a * b", "x - c"),
    ),
    _Story(
        "A shop has {a} {holders} of {b} {things} and {c} {holders} of {d} {things}. How many "
        "{things} does the shop have?",
        ("a * b", "c * d", "x + y"),
    ),
    _Story(
        "{name} had {a} {things}. {name} lost {b} of them and then packed the rest into {holders} "
        "of {c}. How many {holders} did {name} fill?",
        ("a - b", "x / c"),
    ),
    _Story(
        "{name} reads {a} pages a day for {b} days, and {other} reads {c} pages a day for {d} "
        "days. How many more pages than {other} does {name} read?",
        ("a * b", "c * d", "x - y"),
    ),
)


@dataclasses.dataclass(frozen=True)
class StoriesConfig(TextConfig):
    """The settings of made-up stories, besides those of `TextConfig`.

    Attributes:
      seed: of the problems. In which split a question is does not depend on it.
      largest: largest number in a question.
      train_size, validation_size, test_size: how many problems there are.
    """

    seed: int = 0
    largest: int = 30
    train_size: int = 4000
    validation_size: int = 500
    test_size: int = 500

    def __post_init__(self):
        super().__post_init__()
        check = Checks("task", self)
        check.between(0, 2**32 - 1, "seed")
        check.between(10, 1000, "largest")
        check.between(1, 100_000, "train_size", "validation_size", "test_size")


class Stories(TextTask):
    """Stories with random names, things and numbers. No question occurs twice, in any split.

    A solution is an equation a line, then the answer, a whole number. With task.tools=calculator
    equations are annotated, as GSM8K's are.
    """

    name = "stories"
    kind = "number"

    def files(self, split: str) -> list[Path]:
        raise UserError("stories are made, not read")

    def rows_of_files(self, split: str) -> list[Row]:
        return self._made[split]

    def row_of(self, record: Mapping[str, Any], id: str) -> Row:
        """Reads `question` and `answer`, of a file of problems to evaluate."""
        return Row(id, text_field(record, "question"), number_text(record, "answer"), "")

    @functools.cached_property
    def _made(self) -> dict[str, list[Row]]:
        return _rows(self.config)


def _rows(config: StoriesConfig) -> dict[str, list[Row]]:
    """The problems of all splits."""
    wanted = {split: getattr(config, f"{split}_size") for split in SPLITS}
    rows = {split: {} for split in SPLITS}
    rng = np.random.default_rng(config.seed)
    while any(len(rows[split]) < wanted[split] for split in SPLITS):
        row = _draw(rng, config)
        if row is None:
            continue
        share = share_of(row.question)
        split = "test" if share < 0.25 else "validation" if share < 0.5 else "train"
        if len(rows[split]) < wanted[split]:
            rows[split].setdefault(normalised(row.question), row)
    return {
        split: [dataclasses.replace(row, id=f"{split}-{i}") for i, row in enumerate(found.values())]
        for split, found in rows.items()
    }


def _draw(rng: np.random.Generator, config: StoriesConfig) -> Row | None:
    """A random problem; None if a result is negative or not whole."""
    story = _STORIES[rng.integers(len(_STORIES))]
    name, other = rng.choice(_NAMES, 2, replace=False)
    numbers = dict(
        zip("abcd", rng.integers(2, config.largest, 4, endpoint=True).tolist(), strict=True)
    )
    words = {"name": name, "other": other, "things": rng.choice(_THINGS)}
    question = story.text.format(**words, holders=rng.choice(_HOLDERS), **numbers)
    known, lines = dict(numbers), []
    for result, step in zip("xyz", story.steps, strict=False):
        left, sign, right = step.split()
        left, right = known[left], known[right]
        value = known[result] = _OPERATIONS[sign](left, right)
        if value < 0 or (sign == "/" and left % right):
            return None
        equation = f"{left} {sign} {right}"
        asked = annotation(equation) if config.tools == CALCULATOR else ""
        lines.append(f"{equation} = {asked}{value}")
    solution = "\n".join([*lines, answer_line(str(value), "number")])
    return Row("", question, str(value), solution)
