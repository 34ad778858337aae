"""What goes into a run's report: its curves, the comparison of experts, calibration, solutions, and
search trees of chosen problems, as the data of `measure.report.page`.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import jax

from expert_iter.measure.comparison import standings
from expert_iter.measure.comparison.comparison import FOLDER, ROWS, Comparison
from expert_iter.measure.report.show import tree_of
from expert_iter.measure.value_head import CALIBRATION, calibrate, sampled_steps
from expert_iter.search import readout
from expert_iter.storage.metrics import read as read_metrics
from expert_iter.storage.workdir import SUMMARY
from expert_iter.tasks.task import Problem

SOLUTIONS = 4  # samples shown of each chosen problem


def report_data(comparison: Comparison, settings, workdir: Path, expert: str, tokens: int) -> dict:
    """Everything that `page.page` shows.

    The problems of `comparison` are searched by `expert` with `tokens` a problem; the verifier
    judges after all searches are over.

    settings: the run's, a `config.Settings`.
    """
    summary = _read_json(workdir / SUMMARY) or {}
    compared = _read_json(workdir / FOLDER / ROWS)
    if not isinstance(compared, dict):  # none, or of a version that did not say whose it is
        compared = {"of": "nothing yet", "rows": []}
    rows = compared["rows"]
    return {
        "title": f"{settings.task_name}: {workdir}",
        "facts": _facts(comparison, settings.run, workdir, summary)
        + [["compared", compared["of"]]],
        "rounds": summary.get("rounds", []),
        "finals": summary.get("results", []),
        "comparison": standings.aggregate(rows),
        "paired": _paired(rows, comparison.baseline()),
        "slopes": _slopes(rows),
        "calibration": _read_json(workdir / FOLDER / CALIBRATION)
        or calibrate(sampled_steps(comparison)),
        "samples": _samples(comparison),
        "trees": _trees(comparison, expert, tokens),
    }


def _facts(comparison: Comparison, run, workdir: Path, summary: dict) -> list[list]:
    costs = summary.get("costs", {})
    size = sum(x.size for x in jax.tree.leaves(comparison.params))
    facts = [
        ["trees and solutions", comparison.describe()],
        ["parameters", f"{size / 1e6:.2f}M"],
        ["rounds", run.rounds],
        ["problems a round", run.problems_per_round],
        ["expert", run.expert],
        ["seed", run.seed],
    ]
    if "search_tokens" in costs:
        facts.append(["tokens searched", f"{costs['search_tokens'] / 1e6:.1f}M"])
    if "seconds" in costs:
        facts.append(["training", f"{costs['seconds'] / 60:.0f} min"])
    legal = [x for x in read_metrics(workdir) if "check/greedy_legal" in x]
    if legal:
        facts.append(["legal greedy answers", f"{100 * legal[-1]['check/greedy_legal']:.0f}%"])
    return facts


def _paired(rows: Sequence[dict], baseline: standings.Method) -> list[dict]:
    names = standings.labels(rows)
    return [
        {
            "unit": unit,
            "budget": row["budget"],
            "method": names[row["expert"], row["readout"]],
            "baseline": names[baseline],
            **{key: row[key] for key in ("difference", "low", "high")},
        }
        for unit in dict.fromkeys(row["unit"] for row in rows)
        for row in standings.paired(rows, unit, baseline)
    ]


def _slopes(rows: Sequence[dict]) -> list[dict]:
    found = []
    for unit in dict.fromkeys(row["unit"] for row in rows):
        for (expert, read), name in standings.labels(rows).items():
            slope = None if read == standings.ORACLE else standings.slope(rows, expert, read, unit)
            if slope is not None:
                found.append({"method": name, "unit": unit, **slope})
    return found


def _samples(comparison: Comparison) -> list[dict]:
    tokens = SOLUTIONS * comparison.pilot.solution_tokens
    evaluator, tree = comparison.searched("samples", tokens)
    found = [
        (problem, solution, evaluator.tokenizer.decode(solution.tokens))
        for b, problem in enumerate(comparison.problems)
        for solution in evaluator.solutions(tree, b)
    ]
    verdicts = comparison.verifier.verify([p for p, _, _ in found], [t for _, _, t in found])
    return [
        {
            "prompt": problem.prompt.strip(),
            "text": text,
            "verdict": verdict,
            "value": solution.value,
            "log_pi": solution.log_pi,
        }
        for (problem, solution, text), verdict in zip(found, verdicts, strict=True)
    ]


def _trees(comparison: Comparison, expert: str, tokens: int) -> list[dict]:
    evaluator, tree = comparison.searched(expert, tokens)

    def shown(b: int, problem: Problem) -> dict:
        answer = readout.best(evaluator.solutions(tree, b), evaluator.config.prior_weight)
        text = "" if answer is None else evaluator.tokenizer.decode(answer.tokens)
        verdict = lambda text: comparison.verifier.verify([problem], [text])[0]  # noqa: E731
        root = tree_of(tree, answer, evaluator.tokenizer, problem.prompt, b, verdict)
        return {
            "prompt": problem.prompt.strip(),
            "answer": text,
            "verdict": answer is not None and verdict(text),
            "expert": standings.label(expert),
            "budget": tokens,
            "root": dataclasses.asdict(root),
        }

    return [shown(b, problem) for b, problem in enumerate(comparison.problems)]


def _read_json(path: Path):
    return json.loads(path.read_text()) if path.exists() else None
