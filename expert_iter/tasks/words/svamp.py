"""SVAMP: variations of short word problems (Patel et al. 2021, arXiv 2103.07191)."""

import ast
import operator
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from expert_iter.tasks.words import published_files
from expert_iter.tasks.words.answers import number
from expert_iter.tasks.words.published_task import PublishedTask
from expert_iter.tasks.words.rows import Row, answer_line, number_text, text_field
from expert_iter.tasks.words.tools import CALCULATOR
from expert_iter.tasks.words.tools.calculator import annotation

_OPERATIONS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


class Svamp(PublishedTask):
    """Word problems whose answers are numbers.

    The published file has no splits. Here 70% of the stories are for training, 10% for validation
    and 20% for the test. Most stories occur several times, with other numbers, objects or order, so
    questions with the same first four words, ignoring numbers, are in one split.

    A solution is the equation, then the answer. The equation is left out where it does not give the
    answer (row 679). With task.tools=calculator it is annotated, as GSM8K's are. Ids are
    'SVAMP-17', by the row in the file, from 0.
    """

    name = "svamp"
    kind = "number"
    published = (published_files.SVAMP,)
    row_settings = (*PublishedTask.row_settings, "tools")

    def row_of(self, record: Mapping[str, Any], id: str) -> Row:
        """Reads `Body`, `Question`, `Answer`, and `Equation` if there is one."""
        body, question = (text_field(record, field).strip() for field in ("Body", "Question"))
        answer = number_text(record, "Answer")
        steps = []
        equation = str(record.get("Equation") or "")
        if _value(equation) == Fraction(number.read(answer)):
            tidy = _tidy(equation)
            asked = annotation(tidy) if self.config.tools == CALCULATOR else ""
            steps = [f"{tidy} = {asked}{answer}"]
        return Row(
            id,
            f"{body}{'' if body[-1] in '.?!' else '.'} {question}",
            answer,
            "\n".join([*steps, answer_line(answer, "number")]),
        )


def _tidy(equation: str) -> str:
    """Rewrites `( ( 4.0 - 2.0 ) + 3.0 )` as `(4 - 2) + 3`."""
    text = re.sub(r"([0-9])\.0\b", r"\1", " ".join(equation.split()))
    text = text.replace("( ", "(").replace(" )", ")")
    inner = text[1:-1]
    return inner if text[:1] == "(" and _value(inner) == _value(text) else text


def _value(equation: str) -> Fraction | None:
    """The value of an arithmetic expression; None for any other text."""
    equation = equation.strip()
    try:
        return _number(ast.parse(equation, mode="eval").body, equation)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return None


def _number(node: ast.expr, equation: str) -> Fraction:
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        left, right = (_number(side, equation) for side in (node.left, node.right))
        return _OPERATIONS[type(node.op)](left, right)
    # Reads the source, because Python's value is a rounded float.
    written = number.bare(ast.get_source_segment(equation, node))
    if isinstance(node, ast.Constant) and written:
        return Fraction(written)
    raise ValueError("not arithmetic")
