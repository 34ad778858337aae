"""HumanEval: complete a Python function from its head (Chen et al. 2021, arXiv 2107.03374)."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from expert_iter.errors import UserError
from expert_iter.tasks.words import published_files
from expert_iter.tasks.words.prompts import Wording
from expert_iter.tasks.words.published_task import PublishedConfig, PublishedTask
from expert_iter.tasks.words.rows import CODE, Row, tests_of, text_field

_WORDING = Wording(
    "{question}",
    "Complete this Python function. Give the whole function in one ```python block.\n\n{question}",
)


@dataclasses.dataclass(frozen=True)
class HumanEvalConfig(PublishedConfig):
    """The settings of `PublishedConfig`. HumanEval has no examples for few-shot prompts."""

    def __post_init__(self):
        super().__post_init__()
        if self.prompt == "few_shot":
            raise UserError(
                "task.prompt=few_shot: HumanEval has no training problems to take examples from; "
                "use plain or chat"
            )


class HumanEval(PublishedTask):
    """The test split alone: there are no training problems.

    A plain prompt is the function's head with its docstring, which the model continues. It does not
    show the tests. Ids are those of the file, such as 'HumanEval/17'.
    """

    name = "humaneval"
    kind = CODE
    published = (published_files.HUMANEVAL,)
    wording = _WORDING

    def files(self, split: str) -> list[Path]:
        if split != "test":
            raise UserError(
                f"task humaneval has no {split} problems, for it is for evaluation only: train on "
                "another task, such as mbpp"
            )
        return super().files(split)

    def rows_of_files(self, split: str) -> list[Row]:
        self.files(split)  # raises if there is no such split
        return self.read_files()

    def id_of(self, record: Mapping[str, Any], name: str, i: int) -> str:
        return text_field(record, "task_id")

    def row_of(self, record: Mapping[str, Any], id: str) -> Row:
        """Reads the fields `prompt`, `entry_point`, `canonical_solution` and `test`."""
        head = text_field(record, "prompt")
        tests = {
            "entry_point": text_field(record, "entry_point"),
            "prefix": head,
            "checker": text_field(record, "test"),
        }
        return Row(id, head, tests_of(tests), text_field(record, "canonical_solution").rstrip())
