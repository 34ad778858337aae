"""Evaluates a trained network on held-out problems, or on a file of problems.

    python -m expert_iter.evaluate --workdir=runs/countdown --problems=my_problems.jsonl
    python -m expert_iter.evaluate --workdir=runs/countdown --methods=all --budget=72,288,1152

Prints a table of methods (greedy, votes, best of n, tree search) with their bills, and writes it to
evaluation.json in the workdir. With --budget it compares methods at equal bill instead: each gets
so many generated tokens a problem, and as many FLOPs as sampling of those costs, over several
seeds; tables and pictures go to comparison/ in the workdir. No method sees the verifier; pass@n,
which does, is printed apart.
"""

import json
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from expert_iter import cli
from expert_iter.errors import UserError

flags.DEFINE_string("checkpoint", "last", cli.CHECKPOINT)
flags.DEFINE_string("problems", "", "A file of problems (JSONL or CSV); by default the test split.")
flags.DEFINE_integer("skip", 0, "Leave out so many problems at the beginning.", lower_bound=0)
flags.DEFINE_list("methods", ["greedy", "samples", "mcts"], "Names of experts, or all.")
flags.DEFINE_list("budget", [], "Generated tokens a problem, to compare methods at equal bill.")
flags.DEFINE_list("units", ["tokens", "flops"], "With --budget: what is equal, tokens or flops.")
flags.DEFINE_integer("seeds", 3, "With --budget: how many times each method plays.", lower_bound=1)


def main(config: ConfigDict, workdir: Path) -> None:
    from expert_iter.assembly import assemble
    from expert_iter.config import settings
    from expert_iter.load import describe, put_params, read_checkpoint

    checked = settings(config)
    parts = assemble(checked, workdir)
    saved = read_checkpoint(workdir, flags.FLAGS.checkpoint)
    print(describe(saved), flush=True)
    params = put_params(saved, parts)
    path = flags.FLAGS.problems
    skip, methods = flags.FLAGS.skip, _methods()
    last = None if path else skip + checked.evaluation.problems
    problems = (parts.task.read(path) if path else parts.task.problems("test"))[skip:last]
    if not problems:
        raise UserError(f"no problems are left after --skip={skip}")
    if flags.FLAGS.budget:
        compare(parts, params, problems, workdir, methods, describe(saved))
    else:
        of = {"checkpoint": saved.position, "problems": path or "test"}
        evaluate(parts, params, problems, workdir, methods, of)


def evaluate(parts, params, problems, workdir: Path, methods, of: dict) -> None:
    """Each method at the budgets of the config. of: what the results are of, to be kept beside."""
    from expert_iter.measure import tables
    from expert_iter.measure.scores import scored
    from expert_iter.storage.files import write_atomic
    from expert_iter.storage.progress import progress

    questions = [problem.question for problem in problems]
    evaluator, rows = parts.evaluator(), []
    with progress(len(methods), f"evaluating {len(problems)} problems", unit="method") as bar:
        for method in methods:
            answered = evaluator.answer(params, questions, method, evaluator.budgets(method))
            for row in scored(parts.verifier, problems, answered):
                rows.append({"when": "now", **row})
            bar.update(1)
    text = json.dumps({**of, "results": rows}, indent=1) + "\n"
    write_atomic(workdir / "evaluation.json", text)
    print(tables.terminal(rows))


def compare(parts, params, problems, workdir: Path, methods, checkpoint: str) -> None:
    """All methods at equal bill, and the value head that guides them."""
    from expert_iter.measure import value_head
    from expert_iter.measure.comparison.comparison import FOLDER, Comparison

    folder = workdir / FOLDER
    wanted = methods, _budgets(), _units(), flags.FLAGS.seeds
    who = parts.evaluator(), parts.verifier, params
    comparison = Comparison(*who, problems, folder, *wanted, checkpoint)
    print(comparison.write(comparison.run()))
    print(value_head.write(comparison))
    print(f"\n{folder} holds this as comparison.md, comparison.csv and pictures.")


def _methods() -> list[str]:
    from expert_iter.measure.comparison.comparison import ALL
    from expert_iter.search.experts import EXPERTS

    methods = flags.FLAGS.methods
    if methods == ["all"]:
        return list(ALL)
    for method in methods:
        if method not in EXPERTS:
            raise UserError(
                f"--methods: there is no expert {method!r}; there are all, {', '.join(EXPERTS)}"
            )
    return list(dict.fromkeys(methods))


def _budgets() -> list[int]:
    budgets = flags.FLAGS.budget
    if not all(text.isdecimal() and int(text) > 0 for text in budgets):
        raise UserError(
            f"--budget takes whole numbers of tokens, such as 72,288,1152; got {','.join(budgets)}"
        )
    return sorted({int(text) for text in budgets})


def _units() -> list[str]:
    units = flags.FLAGS.units
    if not units or not set(units) <= {"tokens", "flops"}:
        raise UserError(f"--units takes tokens, flops or both; got {','.join(units)}")
    return list(dict.fromkeys(units))


def run() -> None:
    cli.run(main, cli.FROM_WORKDIR)


if __name__ == "__main__":
    run()
