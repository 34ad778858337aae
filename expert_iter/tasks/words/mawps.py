"""MAWPS: arithmetic word problems from four older sets (Koncel-Kedziorski et al. 2016).

"MAWPS: A Math Word Problem Repository", NAACL 2016. The sets are AddSub, MultiArith, SingleEq and
SingleOp.
"""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from expert_iter.tasks.words import published_files
from expert_iter.tasks.words.published_task import PublishedConfig, PublishedTask
from expert_iter.tasks.words.questions import normalised, split_of_story
from expert_iter.tasks.words.rows import Row, answer_line, number_text, text_field


@dataclasses.dataclass(frozen=True)
class MawpsConfig(PublishedConfig):
    """The settings of `PublishedConfig`."""


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

    def files(self, split: str) -> list[Path]:
        return [self.locate(file) for file in published_files.MAWPS]

    def rows_of_files(self, split: str) -> list[Row]:
        return [row for row in self._distinct if split_of_story(row.question) == split]

    @functools.cached_property
    def _distinct(self) -> list[Row]:
        first: dict[str, Row] = {}
        for file in published_files.MAWPS:
            rows = self.read_file(functools.partial(self._row, Path(file.name).stem), file)
            for row in rows:
                first.setdefault(normalised(row.question), row)
        return list(first.values())

    def _row(self, name: str, record: Mapping[str, Any], i: int, place: str) -> Row:
        return self.row_at(record, f"{name}-{i}", place)

    def row_of(self, record: Mapping[str, Any], id: str) -> Row:
        """Reads `input` and `target`."""
        answer = number_text(record, "target")
        question = text_field(record, "input").strip()
        return Row(id, question, answer, answer_line(answer, "number"))
