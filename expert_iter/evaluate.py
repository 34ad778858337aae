"""Evaluates a trained network on held-out problems, or on a file of problems.

    python -m expert_iter.evaluate --workdir=runs/countdown --problems=my_problems.jsonl

Prints a table of methods (greedy, votes, best of n, tree search) with their bills, and writes it to
evaluation.json in the workdir. No method sees the verifier; pass@n, which does, is printed apart.
"""

import json
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from expert_iter import cli

flags.DEFINE_string("problems", "", "A file of problems (JSONL or CSV); by default the test split.")
flags.DEFINE_list("methods", ["greedy", "samples", "mcts"], "Which of greedy, samples, mcts.")


def main(config: ConfigDict, workdir: Path) -> None:
    from expert_iter.config import settings

    checked = settings(config)

    from expert_iter.assembly import assemble
    from expert_iter.measure import tables
    from expert_iter.measure.evaluation import judge
    from expert_iter.pod.progress import progress
    from expert_iter.pod.workdir import write_atomic
    from expert_iter.run import load_params

    params = load_params(workdir)
    parts = assemble(checked, workdir)
    path, methods = flags.FLAGS.problems, flags.FLAGS.methods
    problems = (
        parts.task.read(path)
        if path
        else parts.task.problems("test")[: checked.evaluation.problems]
    )
    questions = [problem.question for problem in problems]
    contest, rows = parts.contest(), []
    with progress(len(methods), f"evaluating {len(problems)} problems", unit="method") as bar:
        for method in methods:
            for entry in contest.answer(params, questions, method, contest.budgets(method)):
                rows.append({"when": "now", **judge(parts.task.verdict, problems, entry)})
            bar.update(1)
    write_atomic(
        workdir / "evaluation.json",
        json.dumps({"problems": path or "test", "results": rows}, indent=1) + "\n",
    )
    print(tables.terminal(rows))


def run() -> None:
    cli.run(main, cli.FROM_WORKDIR)


if __name__ == "__main__":
    run()
