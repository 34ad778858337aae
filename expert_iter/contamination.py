"""Finds training problems that occur in a task's test split.

    python -m expert_iter.contamination --task=gsm8k --data_dir=DIR
    python -m expert_iter.contamination --task=jsonl --setting=train_file=a.jsonl \\
        --setting=test_file=b.jsonl

Prints a table of them. expert_iter/tasks/words/contamination.py defines what counts as one.
--config.task.drop_contaminated=true removes them from a run's training problems.
"""

from collections.abc import Sequence

from absl import flags

from expert_iter import cli

flags.DEFINE_string("task", "", "The task, such as gsm8k.")
flags.DEFINE_string("data_dir", "", "The directory of the task's published files.")
flags.DEFINE_multi_string("setting", [], "Another setting of the task, such as train_file=a.jsonl.")


def report(name: str, settings: Sequence[str]) -> str:
    """The tables of a task's training and validation splits.

    Args:
      name: of the task.
      settings: as in `train_file=a.jsonl`.

    Raises:
      UserError: there is no such task or setting, or the task has no questions in words.
    """
    from ml_collections import ConfigDict

    from expert_iter import overrides
    from expert_iter.errors import UserError
    from expert_iter.tasks import load_task, task_settings
    from expert_iter.tasks.words.contamination import table

    if not name:
        raise UserError("--task is missing: name one, as in --task=gsm8k")
    config = ConfigDict({"task": vars(task_settings(name)())})
    overrides.override(config, ["", *(f"--config.task.{setting}" for setting in settings)])
    task = load_task(name, config.task.to_dict())
    if not hasattr(task, "rows"):
        raise UserError(f"--task={name}: its problems are not questions in words")
    test = task.rows("test")
    return "\n".join(table(split, task.rows(split), test) for split in ("train", "validation"))


def main() -> None:
    given = flags.FLAGS
    data_dir = [f"data_dir={given.data_dir}"] if given.data_dir else []
    print(report(given.task, [*data_dir, *given.setting]))


def run() -> None:
    cli.run(main, None)


if __name__ == "__main__":
    run()
