"""A row of a text task: what the published files hold, in one form for all tasks, text alone."""

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from expert_iter.tasks.code.unit_tests import CodeTests
from expert_iter.tasks.records import WrittenNumber
from expert_iter.tasks.words.answers import check_gold

CODE = "code"
# As JSON, Python and people write plain numbers: no separators, no blanks, nothing infinite.
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")


@dataclass(frozen=True)
class Row:
    """A question with its answer, before any prompt is made of it.

    `answer` is the bare answer ("18", "B") or, of a code task, the tests. `solution` is a finished
    text, a step a line, that ends with the answer; '' if none came with the question. `place` is
    where it was read, "FILE, line 3", or '' if that is not known; it makes no other row.
    """

    id: str
    question: str
    answer: str | CodeTests
    solution: str
    place: str = dataclasses.field(default="", compare=False)

    @classmethod
    def of_texts(cls, record: Mapping[str, str], kind: str) -> "Row":
        """The row that `texts` wrote."""
        answer = record["answer"]
        return cls(
            record["id"],
            record["question"],
            tests_of(answer) if kind == CODE else answer,
            record["solution"],
        )

    def texts(self) -> dict[str, str]:
        """Its fields as text; tests become a JSON object."""
        answer = self.answer
        if isinstance(answer, CodeTests):
            answer = json.dumps(dataclasses.asdict(answer))
        return {"id": self.id, "question": self.question, "answer": answer} | {
            "solution": self.solution
        }


@dataclass(frozen=True)
class Gold:
    """What the verifier knows of a problem; see `Row`."""

    answer: str | CodeTests
    solution: str


def text_field(record: Mapping[str, Any], field: str) -> str:
    """A field that must hold text, with newlines for CRLF. Raises ValueError if it does not."""
    value = record.get(field)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"there is no text in `{field}`")
    value.encode()  # JSON can hold half a character, which no file and no tokenizer can
    return value.replace("\r\n", "\n").replace("\r", "\n")


def answer_field(record: Mapping[str, Any], field: str) -> str:
    """A field that must hold an answer: text, or a number as it is written. Raises ValueError."""
    answer = record.get(field)
    if answer is None or isinstance(answer, bool):
        raise ValueError(f"there is no `{field}`")
    if not isinstance(answer, str | int | float | WrittenNumber):
        raise ValueError(f"`{field}` is neither text nor a number")
    answer = str(answer).strip()
    answer.encode()  # see `text_field`
    return answer


def number_text(record: Mapping[str, Any], field: str) -> str:
    """A field that must hold one number, as it is written but for a needless `.0`."""
    text = str(record.get(field)).strip()
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"there is no number in `{field}`")
    check_gold(text, "number")
    return re.sub(r"\.0*$", "", text)


def whole_number(record: Mapping[str, Any], field: str) -> int:
    """A field that must hold a whole number of at most nine digits."""
    text = str(record.get(field)).strip()
    if not re.fullmatch("[0-9]{1,9}", text):
        raise ValueError(f"there is no whole number in `{field}`")
    return int(text)


def answer_line(answer: str, kind: str) -> str:
    """The line that ends a solution."""
    return f"\\boxed{{{answer}}}" if kind == "math" else f"#### {answer}"


def with_answer_line(solution: str, answer: str, kind: str) -> str:
    """The solution; one that does not mark its final answer gets a last line that does."""
    solution = solution.strip()
    if "####" in solution or "\\boxed" in solution:
        return solution
    return f"{solution}\n{answer_line(answer, kind)}".lstrip()


def tests_of(value: Any) -> CodeTests:
    """Tests from a list of statements, a text of them, or an object with `CodeTests`' fields.

    The list and the object may also come as JSON text. Raises ValueError if it is none of them.
    """
    if isinstance(value, str):
        try:
            parsed = json.loads(value)
        except (ValueError, RecursionError):
            parsed = None
        value = parsed if isinstance(parsed, list | dict) else [value]
    if isinstance(value, list):
        value = {"tests": value}
    known = {field.name for field in dataclasses.fields(CodeTests)}
    if not isinstance(value, dict) or not set(value) <= known:
        raise ValueError(f"tests are a list, a text or an object of {', '.join(sorted(known))}")
    tests = value.get("tests", [])
    others = {key: text for key, text in value.items() if key != "tests"}
    texts = [*tests, *others.values()] if isinstance(tests, list) else [None]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("tests must be text")
    if not any(test.strip() for test in [*tests, others.get("checker", "")]):
        raise ValueError("there are no tests")
    return CodeTests(**{"setup": "", "tests": tuple(tests), **others})
