"""MAWPS: arithmetic word problems from four older sets (Koncel-Kedziorski et al. 2016).

"MAWPS: A Math Word Problem Repository", NAACL 2016. The sets are AddSub, MultiArith, SingleEq and
SingleOp.
"""

from collections.abc import Mapping
from typing import Any

from expert_iter.tasks.words import published_files
from expert_iter.tasks.words.published_task import PublishedTask
from expert_iter.tasks.words.questions import normalised
from expert_iter.tasks.words.rows import Row, answer_line, number_text, text_field


class Mawps(PublishedTask):
    """The four sets together, each question once.

    The sets overlap: of questions with the same words, the first is kept. Some questions remain in
    slightly different words. As with SVAMP, about 70% are for training, 10% for validation and 20%
    for the test, and questions with the same first four words, ignoring numbers, are in one split.
    A few training problems still share a story with the test; drop_contaminated removes them.

    Solutions are the answer alone, for the sets have no written ones. Ids are 'addsub-17', by the
    row in the published file, from 0.
    """

    name = "mawps"
    kind = "number"
    published = published_files.MAWPS

    def read_files(self) -> list[Row]:
        first: dict[str, Row] = {}
        for row in super().read_files():
            first.setdefault(normalised(row.question), row)
        return list(first.values())

    def row_of(self, record: Mapping[str, Any], id: str) -> Row:
        """Reads `input` and `target`."""
        answer = number_text(record, "target")
        question = text_field(record, "input").strip()
        return Row(id, question, answer, answer_line(answer, "number"))
