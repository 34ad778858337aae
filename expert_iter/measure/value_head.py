"""What the value head knows: whether its probabilities come true, at each step of a solution."""

import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from expert_iter.measure import calibration, rollouts
from expert_iter.measure.comparison import plots as comparison_plots
from expert_iter.measure.comparison.comparison import Comparison, Sizes
from expert_iter.storage.files import write_atomic

SAMPLES = 8  # of a problem
ROLLOUTS = 16  # from a prefix
MOST_PREFIXES = 1024
LEAST_DRAWN = 20  # steps at a position, for a picture of it
FINAL = "final"
CALIBRATION = "calibration.json"


class Step(NamedTuple):
    """A step of sampled solutions: the text of problem number `problem` up to its end, the value
    there, how often it was drawn, and how many of those solutions came out right.
    """

    problem: int
    prefix: str
    position: str
    value: float
    draws: int
    right: int


def sampled_steps(comparison: Comparison) -> list[Step]:
    """Of `SAMPLES` solutions a problem, the first steps first; equal prefixes are one step."""
    tokens = round(SAMPLES * comparison.pilot.solution_tokens)
    evaluator, tree = comparison.searched("samples", tokens)
    found: dict[tuple, Step] = {}
    for b, problem in enumerate(comparison.problems):
        solutions = evaluator.solutions(tree, b)
        texts = [evaluator.tokenizer.decode(solution.tokens) for solution in solutions]
        verdicts = comparison.verifier.verify([problem] * len(texts), texts)
        for solution, text, right in zip(solutions, texts, verdicts, strict=True):
            ends, last = np.cumsum(solution.step_lengths), len(solution.step_values)
            for number, value in enumerate(solution.step_values, 1):
                position = FINAL if number == last else f"step {number}"
                tokens = solution.tokens[: ends[number - 1]]
                prefix = text if number == last else evaluator.tokenizer.decode(tokens)
                place = b, position, prefix
                before = found.get(place, Step(b, prefix, position, value, 0, 0))
                found[place] = before._replace(
                    draws=before.draws + solution.draws,
                    right=before.right + solution.draws * right,
                )
    order = lambda step: (step.position == FINAL, len(step.position), step.position)  # noqa: E731
    return sorted(found.values(), key=order)


def calibrate(steps: Sequence[Step]) -> list[dict]:
    """The output of `calibration.by_position`, each draw counted; the label is whether that very
    solution is right.
    """
    labels = [
        (step.position, step.value, i < step.right) for step in steps for i in range(step.draws)
    ]
    if not labels:
        return []
    return calibration.by_position(*map(list, zip(*labels, strict=True)))


def against_rollouts(comparison: Comparison, steps: Sequence[Step]) -> list[dict]:
    """The output of `rollouts.against_values` for unfinished prefixes."""
    steps = [step for step in steps if step.position != FINAL]
    chosen = np.random.default_rng(0).permutation(len(steps))[:MOST_PREFIXES]
    steps = [steps[i] for i in sorted(chosen)]
    rates = rollouts.success_rates(
        comparison.resized(Sizes(1, 1, 1, num_samples=ROLLOUTS)),
        comparison.verifier,
        comparison.params,
        [comparison.problems[step.problem] for step in steps],
        [step.prefix for step in steps],
        ROLLOUTS,
    )
    return rollouts.against_values(
        [step.position for step in steps], [step.value for step in steps], rates
    )


def write(comparison: Comparison) -> str:
    """Figures and a picture into the comparison's folder; returns tables in Markdown."""
    steps = sampled_steps(comparison)
    calibrated, rolled = calibrate(steps), against_rollouts(comparison, steps)
    folder = comparison.folder
    write_atomic(folder / CALIBRATION, json.dumps(calibrated, indent=1) + "\n")
    drawn = [row for row in calibrated if row["count"] >= LEAST_DRAWN]
    if drawn:
        comparison_plots.reliability_diagram(drawn, folder / "calibration.png")
    lines = [
        "### The value head by position of the step",
        "",
        "| position | steps | share right | expected calibration error | Brier | AUC |",
        "| :-- | --: | --: | --: | --: | --: |",
        *(
            f"| {r['position']} | {r['count']} | {r['base_rate']:.3f} | {r['ece']:.3f} | "
            f"{r['brier']:.3f} | {r['auc']:.3f} |"
            for r in calibrated
        ),
        "",
        rollouts.to_markdown(rolled, ROLLOUTS),
    ]
    text = "\n".join(lines)
    write_atomic(folder / "value_head.md", text + "\n")
    return text
