"""Training problems that occur in a test split.

    python -m expert_iter.tasks.words.contamination --task=gsm8k --data_dir=DIR
    python -m expert_iter.tasks.words.contamination --task=jsonl --setting=train_file=a.jsonl \\
        --setting=test_file=b.jsonl

prints a table of them. Two questions are the same if their words are, whatever the case, the blanks
and the punctuation; they overlap if they share 13 words in a row (the measure of Brown et al. 2020,
arXiv 2005.14165, appendix C). --config.task.drop_contaminated=true keeps such problems out of a
run's training.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from expert_iter.tasks.words.questions import normalised, words_of
from expert_iter.tasks.words.rows import Row

RUN = 13  # words
SAME = "the same question"


class Match(NamedTuple):
    """A training problem that occurs in the test, by their ids; `why` is for people to read."""

    train: str
    test: str
    why: str


def contaminated(train: Sequence[Row], test: Sequence[Row]) -> list[Match]:
    """Each row of `train` whose question is one of `test`'s, or shares a run of words with one.

    In the order of `train`, each once: with the same question if there is one, else with the first
    that its earliest shared run belongs to.
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
    """What the command prints of one split."""
    matches = contaminated(rows, test)
    same = sum(match.why == SAME for match in matches)
    lines = [f"{match.train:16} in {match.test}: {match.why}" for match in matches]
    lines.append(
        f"{name}: {len(matches)} of {len(rows)} problems occur in the test's {len(test)} "
        f"({same} the same question, {len(matches) - same} share {RUN} words in a row)"
    )
    return "\n".join(lines)


def report(name: str, settings: Sequence[str]) -> str:
    """What the command prints of a task; settings are written as in `train_file=a.jsonl`.

    Raises UserError.
    """
    from ml_collections import ConfigDict

    from expert_iter import overrides
    from expert_iter.errors import UserError
    from expert_iter.tasks import load_task, task_settings

    if not name:
        raise UserError("--task is missing: name one, as in --task=gsm8k")
    config = ConfigDict({"task": vars(task_settings(name)())})
    overrides.override(config, ["", *(f"--config.task.{setting}" for setting in settings)])
    task = load_task(name, config.task.to_dict())
    if not hasattr(task, "rows"):
        raise UserError(f"--task={name}: its problems are no questions in words")
    test = task.rows("test")
    return "\n".join(table(split, task.rows(split), test) for split in ("train", "validation"))


def main() -> None:
    from absl import flags

    given = flags.FLAGS
    data_dir = [f"data_dir={given.data_dir}"] if given.data_dir else []
    print(report(given.task, [*data_dir, *given.setting]))


def run() -> None:
    from absl import flags

    from expert_iter import cli

    # Here, for this module is also imported by commands that have flags of the same names.
    flags.DEFINE_string("task", "", "The task, such as gsm8k.")
    flags.DEFINE_string("data_dir", "", "The folder that holds its published files.")
    flags.DEFINE_multi_string("setting", [], "Another setting of it, such as train_file=a.jsonl.")
    cli.run(main, None)


if __name__ == "__main__":
    run()
