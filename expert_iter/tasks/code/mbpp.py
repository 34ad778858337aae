"""MBPP: write a small Python function from a description (Austin et al. 2021, arXiv 2108.07732)."""

from collections.abc import Mapping, Sequence
from typing import Any

from expert_iter.tasks.words import published_files
from expert_iter.tasks.words.published_task import PublishedTask
from expert_iter.tasks.words.rows import CODE, Row, tests_of, text_field, whole_number

# The paper's split by task_id. Training has the rest, 601 to 974.
_SPLITS = {"examples": range(1, 11), "test": range(11, 511), "validation": range(511, 601)}


class Mbpp(PublishedTask):
    """Descriptions of functions, split by task_id as in the paper.

    Problems 1 to 10 are examples for few-shot prompts, 11 to 510 the test, 511 to 600 validation,
    and 601 to 974 training. A prompt shows the description and the tests that the program must
    pass. Ids are 'mbpp-601', by task_id, which is the row in the published file, counted from 1.
    """

    name = "mbpp"
    kind = CODE
    published = (published_files.MBPP,)

    def id_of(self, record: Mapping[str, Any], name: str, i: int) -> str:
        return f"mbpp-{whole_number(record, 'task_id')}"

    def split_of(self, row: Row) -> str:
        number = int(row.id.removeprefix("mbpp-"))
        return next((split for split, numbers in _SPLITS.items() if number in numbers), "train")

    def shot_rows(self) -> Sequence[Row]:
        return self.rows_of_files("examples")

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
