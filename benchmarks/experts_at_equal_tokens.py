"""Tree search against guess-and-check at equal generated tokens: which expert teaches the network
more?

    python benchmarks/experts_at_equal_tokens.py --out=runs/experts --seeds=3

For each seed one warm start; from it, the same rounds with each expert: MCTS, and M = 8 and M = 32
samples a problem, each with and without replacement. Every round generates about the same number of
tokens and makes the same number of updates. Guess-and-check learns from its winners (STaR,
ReST-EM), tree search from its improved policy. All networks are then read alike, by the settings of
the config. Prints a Markdown table of means over seeds with 95% intervals (problems resampled) and
each seed's own figure; finished runs in --out are not run again.
"""

import argparse
import json
import runpy
from pathlib import Path

import numpy as np

from expert_iter import cli, loop
from expert_iter.assembly import assemble
from expert_iter.config import settings
from expert_iter.load import load_params, trained_params
from expert_iter.measure.bootstrap import interval
from expert_iter.measure.scores import scored
from expert_iter.run import Run
from expert_iter.storage import metrics

ARMS = {
    f"{name}, {'independent' if replacement else 'without replacement'}": {
        **changes,
        "sampler.replacement": replacement,
    }
    for name, changes in {
        "MCTS": {"run.expert": "mcts"},
        "guess M=8": {
            "run.expert": "guess",
            "guess.num_samples": 8,
            "learner.objectives": ("winners", "value"),
        },
        "guess M=32": {
            "run.expert": "guess",
            "guess.num_samples": 32,
            "learner.objectives": ("winners", "value"),
        },
    }.items()
    for replacement in (False, True)
}
METHODS = {
    "greedy": ("greedy", 1),
    "best of 32": ("best_of_n", 32),
    "MCTS, 8 sims": ("mcts", 8),
    "pass@32 (oracle)": ("pass_at_n", 32),
}


def train(config, workdir: Path, initial_params=None) -> list[dict]:
    workdir.mkdir(parents=True, exist_ok=True)
    run = Run(assemble(settings(config), workdir), workdir)
    if initial_params is not None and not run.resumed:
        run.train = run.learner.init(initial_params)
    results = loop.train(run)
    run.close()
    return results


def read(config, workdir: Path) -> list[dict]:
    """What the trained network answers on test problems, whatever sampler it was trained with."""
    parts = assemble(settings(config), workdir)
    problems = parts.task.problems("test")[: config.evaluation.problems]
    questions = [problem.question for problem in problems]
    evaluator, params = parts.evaluator(), load_params(workdir, parts)
    return [
        row
        for expert in ("greedy", "samples", "mcts")
        for row in scored(
            parts.verifier,
            problems,
            evaluator.answer(params, questions, expert, evaluator.budgets(expert)),
        )
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="configs/countdown.py")
    parser.add_argument("--out", type=Path, default=Path("runs/experts"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=100, help="of the learner a round")
    parser.add_argument("--tokens", type=int, default=400_000, help="generated a round")
    arguments = parser.parse_args()
    cli.quiet()
    cli.enable_compilation_cache()

    outcomes: dict[str, list[dict]] = {arm: [] for arm in ARMS}
    for seed in range(arguments.seeds):
        base = runpy.run_path(arguments.config)["get_config"]()
        base.run.seed = seed
        base.optimizer.average = 0.0  # as in the results that are reported
        base.evaluation.samples, base.evaluation.simulations = (32,), (8,)
        base.run.rounds = 0
        warm = arguments.out / f"seed{seed}" / "warm"
        train(base, warm)
        for arm, changes in ARMS.items():
            config = base.copy_and_resolve_references()
            config.update_from_flattened_dict(changes)
            config.warm_start.updates = 0
            config.run.rounds = arguments.rounds
            config.run.tokens_per_round = arguments.tokens
            config.run.problems_per_round = 8192
            config.learner.updates_per_round = arguments.updates
            workdir = arguments.out / f"seed{seed}" / arm.replace(" ", "_").replace(",", "")
            done = workdir / "outcome.json"
            if not done.exists():
                print(f"seed {seed}: {arm}", flush=True)
                unread = {"evaluation.samples": (), "evaluation.simulations": ()}
                config.update_from_flattened_dict(unread)
                train(config, workdir, trained_params(warm))
                results = read(base, workdir)
                lines = metrics.read(workdir)
                tokens = sum(line.get("search/tokens", 0) for line in lines)
                solved = [line["search/solved"] for line in lines if "search/solved" in line]
                done.write_text(
                    json.dumps({"results": results, "tokens": tokens, "solved": solved})
                )
            outcomes[arm].append(json.loads(done.read_text()))
            table(outcomes, arguments.rounds)


def table(outcomes: dict[str, list[dict]], rounds: int) -> None:
    """Prints accuracies after the last round; `n` seeds are done."""
    print(f"\n| expert ({rounds} rounds) | seeds | tokens generated | {' | '.join(METHODS)} |")
    print(f"|---|---|---|{'---|' * len(METHODS)}")
    for arm, runs in outcomes.items():
        if not runs:
            continue
        cells = []
        for method, budget in METHODS.values():
            correct = [
                [int(c) for c in row["correct"]]
                for run in runs
                for row in run["results"]
                if (row["method"], row["budget"]) == (method, budget)
            ]
            mean, low, high = interval(np.array(correct))
            seeds = "/".join(f"{100 * np.mean(seed):.0f}" for seed in correct)
            cells.append(f"{100 * mean:.1f} ({100 * low:.1f}–{100 * high:.1f}; {seeds})")
        tokens = np.mean([run["tokens"] for run in runs])
        print(f"| {arm} | {len(runs)} | {tokens / 1e6:.2f}M | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
