"""Contamination: training problems that occur in the test split.

Two questions are the same if their words are, ignoring case, spaces and punctuation. They overlap
if they share 13 words in a row (Brown et al. 2020, arXiv 2005.14165, appendix C).
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from expert_iter.tasks.words.questions import normalised, words_of
from expert_iter.tasks.words.rows import Row

RUN = 13  # words
SAME = "the same question"


class Match(NamedTuple):
    """A training problem that occurs in the test.

    Attributes:
      train: id of the training problem.
      test: id of the test problem.
      why: what they share, for messages.
    """

    train: str
    test: str
    why: str


def contaminated(train: Sequence[Row], test: Sequence[Row]) -> list[Match]:
    """The rows of `train` that occur in `test`, in order, at most one match for each.

    The match is the same question if there is one, else the first question with the row's earliest
    shared run of words.
    """
    same, shared = {}, {}
    for row in test:
        same.setdefault(normalised(row.question), row.id)
        for run in _runs(row.question):
            shared.setdefault(run, row.id)
    matches = []
    for row in train:
        if (other := same.get(normalised(row.question))) is not None:
            matches.append(Match(row.id, other, SAME))
            continue
        run = next((run for run in _runs(row.question) if run in shared), None)
        if run is not None:
            matches.append(Match(row.id, shared[run], f"shared words: {run}"))
    return matches


def _runs(text: str) -> Iterator[str]:
    words = words_of(text)
    return (" ".join(words[i : i + RUN]) for i in range(len(words) - RUN + 1))


def table(name: str, rows: Sequence[Row], test: Sequence[Row]) -> str:
    """The table of one split's matches, and a line of counts, as the command prints them."""
    matches = contaminated(rows, test)
    same = sum(match.why == SAME for match in matches)
    lines = [f"{match.train:16} in {match.test}: {match.why}" for match in matches]
    lines.append(
        f"{name}: {len(matches)} of {len(rows)} problems occur in the test's {len(test)} "
        f"({same} the same question, {len(matches) - same} share {RUN} words in a row)"
    )
    return "\n".join(lines)
