"""A row of a text task: question, answer and solution, in one form for all data sets."""

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
# A plain number, without separators or spaces; not infinite.
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")


@dataclass(frozen=True)
class Row:
    """A question with its answer, before it becomes a prompt.

    Attributes:
      id: unique within its split.
      question: its text.
      answer: the bare answer, such as "18" or "B"; for code, the tests; for reasoning_gym, a pickle
        of what its scorer reads.
      solution: a finished solution, one step a line, that ends with the answer; '' if there is
      none.
      place: where it was read, as in "FILE, line 3", or ''. Ignored in comparisons.
    """

    id: str
    question: str
    answer: str | CodeTests | bytes
    solution: str
    place: str = dataclasses.field(default="", compare=False)

    @classmethod
    def of_texts(cls, record: Mapping[str, str], kind: str) -> "Row":
        """Restores a row from `texts`."""
        answer = tests_of(record["answer"]) if kind == CODE else record["answer"]
        return cls(record["id"], record["question"], answer, record["solution"])

    def texts(self) -> dict[str, str]:
        """Its fields as strings; tests become a JSON object."""
        texts = dataclasses.asdict(self)
        del texts["place"]
        if isinstance(self.answer, CodeTests):
            texts["answer"] = json.dumps(texts["answer"])
        return texts


@dataclass(frozen=True)
class Gold:
    """What the verifier knows about a problem.

    Attributes:
      answer: see `Row`.
      solution: see `Row`; in a chat, with the fence around a program.
    """

    answer: str | CodeTests | bytes
    solution: str


def text_field(record: Mapping[str, Any], field: str) -> str:
    """A field with text, its line ends as newlines. Raises ValueError if it has none."""
    value = record.get(field)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"there is no text in `{field}`")
    value.encode()  # raises for a lone surrogate, which JSON allows and UTF-8 does not
    return value.replace("\r\n", "\n").replace("\r", "\n")


def answer_field(record: Mapping[str, Any], field: str) -> str:
    """A field with an answer: text, or a number as it is written. Raises ValueError otherwise."""
    answer = record.get(field)
    if answer is None or isinstance(answer, bool):
        raise ValueError(f"there is no `{field}`")
    if not isinstance(answer, str | int | float | WrittenNumber):
        raise ValueError(f"`{field}` is neither text nor a number")
    answer = str(answer).strip()
    answer.encode()  # see `text_field`
    return answer


def number_text(record: Mapping[str, Any], field: str) -> str:
    """A field with one number, as it is written but without `.0`. Raises ValueError otherwise."""
    text = str(record.get(field)).strip()
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"there is no number in `{field}`")
    check_gold(text, "number")
    return re.sub(r"\.0*$", "", text)


def whole_number(record: Mapping[str, Any], field: str) -> int:
    """A field with an integer of at most nine digits. Raises ValueError otherwise."""
    text = str(record.get(field)).strip()
    if not re.fullmatch("[0-9]{1,9}", text):
        raise ValueError(f"there is no whole number in `{field}`")
    return int(text)


def answer_line(answer: str, kind: str) -> str:
    """The line that ends a solution."""
    return f"\\boxed{{{answer}}}" if kind == "math" else f"#### {answer}"


def with_answer_line(solution: str, answer: str, kind: str) -> str:
    """The solution, with a last line that marks the final answer unless it is marked already."""
    solution = solution.strip()
    if "####" in solution or "\\boxed" in solution:
        return solution
    return f"{solution}\n{answer_line(answer, kind)}".lstrip()


def tests_of(value: Any) -> CodeTests:
    """Reads tests.

    Args:
      value: a list of statements, a string of them, or an object with the fields of `CodeTests`.
        The list and the object may be JSON text.

    Raises:
      ValueError: it is none of these.
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
        raise ValueError(f"tests are a list, a string or an object of {', '.join(sorted(known))}")
    tests = value.get("tests", [])
    others = {key: text for key, text in value.items() if key != "tests"}
    texts = [*tests, *others.values()] if isinstance(tests, list) else [None]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("tests must be text")
    if not any(test.strip() for test in [*tests, others.get("checker", "")]):
        raise ValueError("there are no tests")
    return CodeTests(**{"setup": "", "tests": tuple(tests), **others})
