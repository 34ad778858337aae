"""The task for the user's own questions and answers, in files of any field names."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from expert_iter.errors import UserError
from expert_iter.range_checks import Checks
from expert_iter.tasks.words.answers import ANSWER_TYPES, check_gold
from expert_iter.tasks.words.file_task import FileConfig, FileTask
from expert_iter.tasks.words.rows import (
    CODE,
    Row,
    answer_field,
    tests_of,
    text_field,
    with_answer_line,
)


@dataclasses.dataclass(frozen=True)
class JsonlConfig(FileConfig):
    """The fields of the files' records, besides the settings of `FileConfig`.

    Attributes:
      answer_type: 'exact', 'number', 'math' or 'choice' (see tasks/words/answers), or 'code'. The
        answer to code is its tests: a list of assert statements, a string of them, or an object
        with the fields of `unit_tests.CodeTests`.
      question_field, answer_field: names of the two fields.
      solution_field: name of the field with a written solution (or program), one step a line. A
        record may lack it.
    """

    answer_type: str = "exact"
    question_field: str = "question"
    answer_field: str = "answer"
    solution_field: str = "solution"

    def __post_init__(self):
        super().__post_init__()
        Checks("task", self).one_of("answer_type", *ANSWER_TYPES, CODE)
        for key in ("question_field", "answer_field", "solution_field"):
            if not getattr(self, key):
                raise UserError(f"task.{key} is empty: name a field of the files")


class Jsonl(FileTask):
    """Questions with answers of one type.

    A written solution that does not mark its answer gets a last line `#### answer`. Without a
    written solution, that line is the solution; a code problem then has none.
    """

    name = "jsonl"
    row_settings = ("answer_type", "question_field", "answer_field", "solution_field")

    def __init__(self, config: JsonlConfig):
        self.kind = config.answer_type
        super().__init__(config)

    def row_of(self, record: Mapping[str, Any], id: str) -> Row:
        config = self.config
        question = text_field(record, config.question_field).strip()
        written = record.get(config.solution_field)
        written = text_field(record, config.solution_field) if written else ""
        if self.kind == CODE:
            tests = record.get(config.answer_field)
            return Row(id, question, tests_of(tests), written.strip("\n"))
        answer = answer_field(record, config.answer_field)
        check_gold(answer, self.kind)
        return Row(id, question, answer, with_answer_line(written, answer, self.kind))
