"""A value head against the exact value of prefixes, on a number game with the world's rules.

    python benchmarks/value_ruler.py --workdir=runs/countdown4 [--problems=128]

Searches test problems by MCTS without verdicts. Each legal step that was drawn is a prefix; it is
worth one if the target can still be reached (`expert_iter/tasks/numbers/reachable.py`), else zero.
Prints Markdown, by the numbers that are left: prefixes, the share that are worth one, and the AUC
of the value head.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import jax
import numpy as np

from expert_iter import cli
from expert_iter.assembly import assemble
from expert_iter.config import completed, settings
from expert_iter.load import load_params
from expert_iter.measure.calibration import auc
from expert_iter.search.readout import path, step_tokens
from expert_iter.storage import workdir as workdir_lib
from expert_iter.tasks.numbers.reachable import target_is_reachable


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--problems", type=int, default=128)
    parser.add_argument("--checkpoint", default="last")
    args = parser.parse_args()
    cli.quiet()
    checked = settings(completed(workdir_lib.read_config(args.workdir)))
    parts = assemble(checked, args.workdir)
    params = load_params(args.workdir, parts, args.checkpoint)
    problems, evaluator = parts.task.problems("test")[: args.problems], parts.evaluator()
    questions = [problem.question for problem in problems]
    budget = max(checked.evaluation.simulations)
    tree, _ = evaluator.play(params, questions, "mcts", budget, jax.random.key(0))

    found, seen, c = defaultdict(list), set(), tree.candidates
    for b, n, k in zip(*np.nonzero(c.valid & tree.live[..., None]), strict=True):
        tokens = [t for at in [*path(tree, b, n), (n, k)] for t in step_tokens(tree, b, *at)]
        text = parts.tokenizer.decode(tokens)
        if not c.observed[b, n, k].any() or (b, text) in seen:
            continue  # illegal, or told already
        seen.add((b, text))
        left = len(text.splitlines()[-1].partition(" : ")[2].split())
        worth = target_is_reachable(questions[b].prompt, text)
        found[left].append((c.model_value[b, n, k], worth))

    print("| numbers left | prefixes | target in reach | AUC |\n|--:|--:|--:|--:|")
    for left in sorted(found, reverse=True):
        value, worth = map(np.array, zip(*found[left], strict=True))
        print(f"| {left} | {len(value):,} | {worth.mean():.1%} | {auc(value, worth):.3f} |")


if __name__ == "__main__":
    main()
