"""Which expert teaches the network more, at equal generated tokens?

    python benchmarks/teachers.py --config=configs/countdown_world.py --out=runs/teachers \\
        --rounds=4 --tokens=280000 --seeds=3

For each seed one warm start; from it, the same rounds with each arm: tree search, tree search on
what eight samples left unsolved, and 8 and 32 samples a problem. Every round generates about the
same number of tokens and makes the same number of updates. Arms that sample learn from their
winners (STaR, ReST-EM), tree search from its improved policy. All networks are then read alike, by
the settings of the config, on its test problems.

Prints Markdown: accuracies with 95% intervals over seeds and problems and each seed's own figure,
differences to the first arm, and what each round solved. --json writes all of it with the verdict
on each problem. What is finished in --out is not run again, and what was begun resumes.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from expert_iter import cli, loop
from expert_iter.assembly import assemble
from expert_iter.config import settings
from expert_iter.load import load_params, trained_params
from expert_iter.measure.bootstrap import interval_over_seeds
from expert_iter.measure.scores import scored
from expert_iter.overrides import load_config
from expert_iter.run import Run
from expert_iter.storage import metrics
from expert_iter.storage.files import write_atomic

_SAMPLES = {"run.expert": "guess", "learner.objectives": ("winners", "value")}
_INDEPENDENT = {"sampler.replacement": True}
ARMS = {
    "MCTS": {"run.expert": "mcts"},
    "MCTS after 8 samples": {
        "run.expert": "mcts",
        "run.first_expert": "guess",
        "guess.num_samples": 8,
    },
    "8 samples": {**_SAMPLES, "guess.num_samples": 8},
    "32 samples": {**_SAMPLES, "guess.num_samples": 32},
    "MCTS, independent": {"run.expert": "mcts", **_INDEPENDENT},
    "8 independent samples": {**_SAMPLES, "guess.num_samples": 8, **_INDEPENDENT},
    "32 independent samples": {**_SAMPLES, "guess.num_samples": 32, **_INDEPENDENT},
}
DEFAULT = ["MCTS", "MCTS after 8 samples", "8 samples", "32 samples"]
SEARCHES = "first search", "search"  # phases of self-play


def train(config, workdir: Path, initial_params=None) -> None:
    workdir.mkdir(parents=True, exist_ok=True)
    run = Run(assemble(settings(config), workdir), workdir)
    if initial_params is not None and not run.resumed:
        run.train = run.learner.init(initial_params)
    loop.train(run)
    run.close()


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


def by_round(workdir: Path) -> list[dict]:
    """Figures of each round's searches: tokens, FLOPs, the share of its problems that were solved,
    and the value head's AUC on what it finished.
    """
    rounds: dict[int, dict] = {}
    for line in metrics.read(workdir):
        for phase in SEARCHES:
            if f"{phase}/tokens" not in line:
                continue
            figure = lambda name: line[f"{phase}/{name}"]  # noqa: B023, E731
            found = rounds.setdefault(
                line["round"],
                {"problems": figure("problems"), "tokens": 0, "flops": 0, "solved": 0},
            )
            found["tokens"] += figure("tokens")
            found["flops"] += figure("flops")
            found["solved"] += figure("solved") * figure("problems") / found["problems"]
            found["auc"] = line.get(f"{phase}/value_auc")
    return [rounds[number] for number in sorted(rounds)]


def outcome(base, workdir: Path) -> dict:
    """What became of a run, read once and kept."""
    kept = workdir / "outcome.json"
    if not kept.exists():
        results = [
            {key: row[key] for key in ("method", "budget", "tokens", "flops", "correct")}
            for row in read(base, workdir)
        ]
        made = {"results": results, "rounds": by_round(workdir)}
        write_atomic(kept, json.dumps(made).encode())
    return json.loads(kept.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="configs/countdown.py")
    parser.add_argument("--out", type=Path, default=Path("runs/teachers"))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=DEFAULT)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=100, help="of the learner a round")
    parser.add_argument("--tokens", type=int, default=400_000, help="generated a round")
    parser.add_argument(
        "--problems", type=int, default=512, help="a round, where an expert tries them first"
    )
    parser.add_argument("--set", nargs="*", default=[], help="more settings, KEY=VALUE")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    cli.quiet()
    cli.enable_compilation_cache()

    warm, outcomes = [], {arm: [] for arm in arguments.arms}
    for seed in range(arguments.seeds):
        base = load_config(arguments.config)
        base.update_from_flattened_dict(dict(map(_setting, arguments.set)))
        base.run.seed, base.run.rounds = seed, 0
        begun = arguments.out / f"seed{seed}" / "warm"
        print(f"seed {seed}: warm start", flush=True)
        train(base, begun)
        warm.append(outcome(base, begun))
        for arm in arguments.arms:
            config = base.copy_and_resolve_references()
            config.update_from_flattened_dict(ARMS[arm])
            config.warm_start.updates = 0
            config.run.rounds = arguments.rounds
            config.run.tokens_per_round = arguments.tokens
            config.run.problems_per_round = arguments.problems
            if not config.run.first_expert:  # tokens alone end the round
                config.run.problems_per_round = config.task.train_size
            config.learner.updates_per_round = arguments.updates
            # The networks are read below, all alike.
            config.evaluation.samples, config.evaluation.simulations = (), ()
            workdir = arguments.out / f"seed{seed}" / arm.replace(" ", "_").replace(",", "")
            print(f"seed {seed}: {arm}", flush=True)
            if not (workdir / "outcome.json").exists():
                train(config, workdir, trained_params(begun))
            outcomes[arm].append(outcome(base, workdir))
            print(report({"warm start": warm, **outcomes}), flush=True)
            if arguments.json:
                made = {"arguments": {k: str(v) for k, v in vars(arguments).items()}}
                made |= {"warm start": warm, "arms": outcomes}
                write_atomic(arguments.json, (json.dumps(made) + "\n").encode())


def _setting(text: str) -> tuple[str, object]:
    key, _, value = text.partition("=")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value


def report(outcomes: dict[str, list[dict]]) -> str:
    """Tables of the arms that have finished; an arm is compared on the seeds that both have."""
    outcomes = {arm: runs for arm, runs in outcomes.items() if runs}
    methods = [(row["method"], row["budget"]) for row in outcomes["warm start"][0]["results"]]

    def correct(run: dict, method: tuple) -> list[float]:
        [row] = [row for row in run["results"] if (row["method"], row["budget"]) == method]
        return [float(c) for c in row["correct"]]

    head = " | ".join(f"{method} {budget}" for method, budget in methods)
    lines = [f"\n| arm | seeds | {head} |", "|---|---|" + "---|" * len(methods)]
    for arm, runs in outcomes.items():
        cells = []
        for method in methods:
            scores = np.array([correct(run, method) for run in runs])
            mean, low, high = interval_over_seeds(scores)
            own = "/".join(f"{100 * seed:.0f}" for seed in scores.mean(axis=1))
            cells.append(f"{100 * mean:.1f} ({100 * low:.1f}–{100 * high:.1f}; {own})")
        lines.append(f"| {arm} | {len(runs)} | {' | '.join(cells)} |")

    first, *others = (arm for arm in outcomes if arm != "warm start")
    lines += [f"\n| {first} minus | {head} |", "|---|" + "---|" * len(methods)]
    for arm in others:
        cells = []
        for method in methods:
            pairs = zip(outcomes[first], outcomes[arm], strict=False)
            apart = [np.subtract(correct(a, method), correct(b, method)) for a, b in pairs]
            mean, low, high = interval_over_seeds(np.array(apart))
            cells.append(f"{100 * mean:+.1f} ({100 * low:.1f} to {100 * high:.1f})")
        lines.append(f"| {arm} | {' | '.join(cells)} |")

    figures = ("problems", "tokens", "flops", "solved", "auc")
    lines += [f"\n| arm | round | {' | '.join(figures)} |", "|---|---|" + "---|" * len(figures)]
    for arm, runs in outcomes.items():
        for number, rounds in enumerate(zip(*(run["rounds"] for run in runs), strict=True), 1):
            of_seeds = ([round[name] for round in rounds] for name in figures)
            means = [np.mean(np.array(values, float)) for values in of_seeds]  # None: not a number
            problems, tokens, flops, solved, auc = means
            lines.append(
                f"| {arm} | {number} | {problems:,.0f} | {tokens:,.0f} | {flops:.2e} | "
                f"{solved:.1%} | {auc:.3f} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
