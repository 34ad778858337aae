r"""Competition mathematics: files of `problem`, and `answer` or a `solution` with \boxed{...}.

This is the format of MATH (Hendrycks et al. 2021, arXiv 2103.03874) and many other data sets. The
project comes with no data: bring your own files.
"""

from collections.abc import Mapping
from typing import Any

from expert_iter.tasks.words.answers import check_gold, final
from expert_iter.tasks.words.answers.final_answer import has_box
from expert_iter.tasks.words.file_task import FileTask
from expert_iter.tasks.words.rows import Row, answer_field, text_field, with_answer_line


class Math(FileTask):
    r"""Problems with LaTeX answers, which are compared by their mathematical meaning.

    A written solution without \boxed{...} gets it as a last line.
    """

    name = "math"
    kind = "math"

    def row_of(self, record: Mapping[str, Any], id: str) -> Row:
        r"""Reads `problem`, and `answer` or `solution`; with both, `answer` is the right answer."""
        written = text_field(record, "solution") if record.get("solution") else ""
        if "answer" in record:
            answer = answer_field(record, "answer")
        elif has_box(written):
            answer = final(written, self.kind).text
        else:
            raise ValueError("there is neither an `answer` nor a `solution` with \\boxed{...}")
        check_gold(answer, self.kind)
        solution = with_answer_line(written, answer, self.kind)
        return Row(id, text_field(record, "problem").strip(), answer, solution)
