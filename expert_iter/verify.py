"""Counts a verifier's mistakes on labelled solutions.

    python -m expert_iter.verify --task=gsm8k --labelled=example_model_solutions.jsonl

Prints each solution whose verdict differs from its label, and the counts. The file holds GSM8K's
published model solutions, or rows of the task's fields (such as `question`, `answer`) with
`solution` and `is_correct`; see expert_iter/measure/error_budget.py.
"""

from absl import flags

from expert_iter import cli

flags.DEFINE_string("task", "", "The task whose verifier is tested, such as gsm8k.")
flags.DEFINE_string("labelled", "", "A file of labelled solutions (JSONL or CSV).")


def main() -> None:
    from expert_iter.errors import UserError

    name, path = flags.FLAGS.task, flags.FLAGS.labelled
    if not name:
        raise UserError("--task is missing: name one, as in --task=gsm8k")
    if not path:
        raise UserError("--labelled is missing: name a file of solutions with is_correct")

    from expert_iter.measure.error_budget import error_budget, read_labelled, terminal
    from expert_iter.tasks import load_task
    from expert_iter.tasks.verifier import pool

    task = load_task(name, {})
    rows = read_labelled(path, task)
    with pool.make_verifier(task, pool.VerifierConfig()) as verifier:
        print(terminal(error_budget(verifier, rows), task))


def run() -> None:
    cli.run(main, None)


if __name__ == "__main__":
    run()
