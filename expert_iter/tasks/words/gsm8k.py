"""GSM8K: grade-school word problems with solutions (Cobbe et al. 2021, arXiv 2110.14168)."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from expert_iter.range_checks import Checks
from expert_iter.tasks.words import published_files
from expert_iter.tasks.words.answers import check_gold
from expert_iter.tasks.words.published_task import PublishedConfig, PublishedTask
from expert_iter.tasks.words.questions import is_held_out
from expert_iter.tasks.words.rows import Row, answer_line, text_field
from expert_iter.tasks.words.tools import CALCULATOR
from expert_iter.tasks.words.tools.calculator import ANNOTATION

# The model solutions that were published with the problems end with `A: 72`.
_ANSWER = re.compile(r"(?:####|A:)\s*(.+)")
_TEST_FILES = published_files.GSM8K_TEST, published_files.GSM8K_TEST_PART


@dataclasses.dataclass(frozen=True)
class Gsm8kConfig(PublishedConfig):
    """The settings of GSM8K, besides those of `PublishedConfig`.

    Attributes:
      annotations: 'strip' or 'keep' the calculator annotations, such as <<48/2=24>>, in solutions.
        Published checkpoints do not write annotations, and they lengthen solutions by a third.
        With task.tools=calculator they are kept.
    """

    annotations: str = "strip"

    def __post_init__(self):
        super().__post_init__()
        Checks("task", self).one_of("annotations", "strip", "keep")


class Gsm8k(PublishedTask):
    """Grade-school word problems whose answers are numbers.

    A hash of the question's words splits train.jsonl into training and validation (about one in
    twenty). The test is test.jsonl, or its first part, test_0000_0659.jsonl. Ids are 'train-17' and
    'test-17', by the row in the published file, from 0.
    """

    name = "gsm8k"
    kind = "number"
    published = (published_files.GSM8K_TRAIN,)
    row_settings = (*PublishedTask.row_settings, "annotations", "tools")

    def split_of(self, row: Row) -> str:
        return "validation" if is_held_out(row.question) else "train"

    def files(self, split: str) -> list[Path]:
        return [self.locate(*_TEST_FILES)] if split == "test" else super().files(split)

    def rows_of_files(self, split: str) -> list[Row]:
        return self.read_file(*_TEST_FILES) if split == "test" else super().rows_of_files(split)

    def row_of(self, record: Mapping[str, Any], id: str) -> Row:
        """Reads `question` and `answer`, a solution whose last line is `#### 72` or `A: 72`."""
        solution = text_field(record, "answer")
        if self.config.annotations == "strip" and self.config.tools != CALCULATOR:
            solution = ANNOTATION.sub("", solution)
        *steps, last = [line.rstrip() for line in solution.split("\n") if line.strip()]
        found = _ANSWER.fullmatch(ANNOTATION.sub("", last))
        if not found:
            raise ValueError("the last line of `answer` is not `####` and a number")
        check_gold(found[1], "number")
        text = "\n".join([*steps, answer_line(found[1], "number")])
        return Row(id, text_field(record, "question").strip(), found[1], text)
