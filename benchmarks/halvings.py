"""What it gains to leave rows behind that have ended (`sampler.halvings`), on a trained network.

    python benchmarks/halvings.py --workdir=runs/smollm2 [--problems=16] [--halvings=3]

Searches training problems by the evaluation's MCTS, without halvings and with, in turn. Checks that
the same tokens are written. Prints Markdown: medians, and the share of useful tokens.
"""

import argparse
import dataclasses
import statistics
import time
from pathlib import Path

import jax
import numpy as np

from expert_iter import cli
from expert_iter.assembly import Parts, assemble
from expert_iter.config import completed, settings
from expert_iter.load import load_params
from expert_iter.search import experts
from expert_iter.search.experts import ExpertSettings
from expert_iter.search.player import Player
from expert_iter.storage import workdir as workdir_lib


def player(parts: Parts, halvings: int, problems: int) -> Player:
    s = parts.settings
    sampler = dataclasses.replace(s.sampler, halvings=halvings)
    given = ExpertSettings(s.search, sampler, s.guess)
    expert = experts.build("mcts", parts.network, given, parts.steps)
    return Player(expert, parts.tokenizer, problems, parts.layout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--problems", type=int, default=16)
    parser.add_argument("--halvings", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=1)
    args = parser.parse_args()
    cli.quiet()
    checked = settings(completed(workdir_lib.read_config(args.workdir)))
    parts = assemble(checked, args.workdir)
    params = load_params(args.workdir, parts)
    questions = [p.question for p in parts.task.problems("train")[: args.problems]]

    arms = {n: player(parts, n, len(questions)) for n in (0, args.halvings)}
    taken, trees = {n: [] for n in arms}, {}
    for _ in range(1 + args.repeats):  # the first compiles
        for n, arm in arms.items():
            start = time.perf_counter()
            trees[n] = arm.play(params, questions, jax.random.key(1), arm.expert.most)
            taken[n].append(time.perf_counter() - start)
    tokens = [tree.candidates.token for tree in trees.values()]
    assert np.array_equal(*tokens), "other tokens were written"

    print("| halvings | first search, s | a search, s | useful tokens/s | useful |")
    print("|--:|--:|--:|--:|--:|")
    for n, (first, *later) in taken.items():
        bill, seconds = trees[n].bill, statistics.median(later)
        useful = bill.generated.sum() / bill.lockstep.sum()
        cells = f"{first:.1f}", f"{seconds:.1f}", f"{bill.generated.sum() / seconds:.0f}"
        print(f"| {n} | {' | '.join(cells)} | {useful:.0%} |")


if __name__ == "__main__":
    main()
