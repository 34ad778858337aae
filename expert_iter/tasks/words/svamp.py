"""SVAMP: short word problems in many variations (Patel et al. 2021, arXiv 2103.07191)."""

import ast
import dataclasses
import functools
import operator
import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from expert_iter.tasks.words import published_files
from expert_iter.tasks.words.answers import number
from expert_iter.tasks.words.published_task import PublishedConfig, PublishedTask
from expert_iter.tasks.words.questions import split_of_story
from expert_iter.tasks.words.rows import Row, answer_line, number_text, text_field

_OPERATIONS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


@dataclasses.dataclass(frozen=True)
class SvampConfig(PublishedConfig):
    """SVAMP has no settings of its own."""


class Svamp(PublishedTask):
    """70, 10 and 20 in a hundred stories are for training, validation and the test; the published
    file has no splits. No two bodies in it are the same text, but most stories come back with other
    numbers, names of things or order: those that begin with the same four words, whatever the
    numbers, are in one split. Ids are 'SVAMP-17', by the row in the file, from 0.

    A solution is the equation, where it gives the answer (one, of row 679, does not), and the
    answer.
    """

    name = "svamp"
    kind = "number"

    def files(self, split: str) -> list[Path]:
        return [self.locate(published_files.SVAMP)]

    def rows_of_files(self, split: str) -> list[Row]:
        return [row for own_split, row in self._file if own_split == split]

    @functools.cached_property
    def _file(self) -> list[tuple[str, Row]]:
        def convert(record, i, place):
            split = split_of_story(text_field(record, "Body"))
            return split, self.row_at(record, f"SVAMP-{i}", place)

        return self.read_file(convert, published_files.SVAMP)

    def row_of(self, record: Mapping[str, Any], id: str) -> Row:
        """`Body`, `Question`, `Answer`, and `Equation` if there is one."""
        body, question = (text_field(record, field).strip() for field in ("Body", "Question"))
        answer = number_text(record, "Answer")
        steps = []
        equation = str(record.get("Equation") or "")
        if _value(equation) == Fraction(number.read(answer)):
            steps = [f"{_tidy(equation)} = {answer}"]
        return Row(
            id,
            f"{body}{'' if body[-1] in '.?!' else '.'} {question}",
            answer,
            "\n".join([*steps, answer_line(answer, "number")]),
        )


def _tidy(equation: str) -> str:
    """`( ( 4.0 - 2.0 ) + 3.0 )` as `(4 - 2) + 3`."""
    text = re.sub(r"([0-9])\.0\b", r"\1", " ".join(equation.split()))
    text = text.replace("( ", "(").replace(" )", ")")
    inner = text[1:-1]
    return inner if text[:1] == "(" and _value(inner) == _value(text) else text


def _value(equation: str) -> Fraction | None:
    """What it comes to; None if it is no arithmetic."""
    equation = equation.strip()
    try:
        return _number(ast.parse(equation, mode="eval").body, equation)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return None


def _number(node: ast.expr, equation: str) -> Fraction:
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        return _OPERATIONS[type(node.op)](
            _number(node.left, equation), _number(node.right, equation)
        )
    # By its text, for Python has rounded its value.
    written = number.bare(ast.get_source_segment(equation, node))
    if isinstance(node, ast.Constant) and written:
        return Fraction(written)
    raise ValueError("no arithmetic")
