"""MBPP: write a small Python function from a description (Austin et al. 2021, arXiv 2108.07732)."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from expert_iter.tasks.words import published_files
from expert_iter.tasks.words.published_task import PublishedConfig, PublishedTask
from expert_iter.tasks.words.rows import CODE, Row, tests_of, text_field, whole_number

# The paper's split by task_id. Training has the rest, 601 to 974.
_EXAMPLES = range(1, 11)
_SPLITS = {"test": range(11, 511), "validation": range(511, 601)}


@dataclasses.dataclass(frozen=True)
class MbppConfig(PublishedConfig):
    """The settings of `PublishedConfig`."""


class Mbpp(PublishedTask):
    """Descriptions of functions, split by task_id as in the paper.

    Problems 1 to 10 are examples for few-shot prompts, 11 to 510 the test, 511 to 600 validation,
    and 601 to 974 training. A prompt shows the description and the tests that the program must
    pass. Ids are 'mbpp-601', by task_id, which is the row in the published file, counted from 1.
    """

    name = "mbpp"
    kind = CODE

    def files(self, split: str) -> list[Path]:
        return [self.locate(published_files.MBPP)]

    def rows_of_files(self, split: str) -> list[Row]:
        return [row for own_split, row in self._file if own_split == split]

    def shot_rows(self) -> Sequence[Row]:
        return self.rows_of_files("examples")

    @functools.cached_property
    def _file(self) -> list[tuple[str, Row]]:
        def convert(record, i, place):
            number = whole_number(record, "task_id")
            return _split_of(number), self.row_at(record, f"mbpp-{number}", place)

        return self.read_file(convert, published_files.MBPP)

    def row_of(self, record: Mapping[str, Any], id: str) -> Row:
        """Reads the fields `text`, `code`, `test_setup_code` and `test_list`."""
        tests = record.get("test_list")
        if not isinstance(tests, list):
            raise ValueError("there is no list of tests in `test_list`")
        setup = record.get("test_setup_code") or ""
        code = text_field(record, "code").strip("\n")
        question = text_field(record, "text").strip()
        return Row(id, question, tests_of({"setup": setup, "tests": tests}), code)

    def asked(self, row: Row) -> str:
        return f"{row.question}\nIt must pass these tests:\n" + "\n".join(row.answer.tests)


def _split_of(number: int) -> str:
    if number in _EXAMPLES:
        return "examples"
    return next((split for split, numbers in _SPLITS.items() if number in numbers), "train")
