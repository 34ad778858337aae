"""Rollouts from any prefix, as a measurement: how often completions of it come right.

This needs the verifier, so it is for training and for judging a value head, never for answering.
"""

from collections.abc import Sequence

import jax
import numpy as np

from expert_iter.measure.evaluator import Evaluator
from expert_iter.tasks.task import Problem, Question
from expert_iter.tasks.verifier.pool import Verifier


def success_rates(
    evaluator: Evaluator,
    verifier: Verifier,
    params,
    problems: Sequence[Problem],
    prefixes: Sequence[str],
    num_rollouts: int,
) -> np.ndarray:
    """The share `[prefixes]` of completions of each prefix that solve its problem.

    Completions are independent samples of the policy, `num_rollouts` a prefix; the evaluator must
    be set up for as many.
    """
    pairs = list(zip(problems, prefixes, strict=True))
    if not pairs:
        return np.array([])
    questions = [Question(f"{p.id}\n{prefix}", p.prompt + prefix, prefix) for p, prefix in pairs]
    key = jax.random.key(evaluator.config.seed)
    tree, _ = evaluator.play(params, questions, "samples", num_rollouts, key)
    rates = []
    for b, (problem, prefix) in enumerate(pairs):
        found = evaluator.solutions(tree, b)
        texts = [prefix + evaluator.tokenizer.decode(solution.tokens) for solution in found]
        right = verifier.verify([problem] * len(texts), texts)
        draws = [solution.draws for solution in found]
        rates.append(float(np.dot(draws, right)) / num_rollouts)
    return np.array(rates)


def against_values(position, value, rate) -> list[dict]:
    """How values compare with success rates (all `[prefixes]`), for each position: means, the share
    of prefixes with any success, and the correlation (NaN where one of them is constant).
    """
    position, value, rate = np.asarray(position), np.asarray(value), np.asarray(rate)
    rows = []
    for place in dict.fromkeys(position.tolist()):
        v, r = value[position == place], rate[position == place]
        varies = len(v) > 1 and v.std() > 0 and r.std() > 0
        rows.append(
            {
                "position": place,
                "count": len(v),
                "value": float(v.mean()),
                "rate": float(r.mean()),
                "any": float((r > 0).mean()),
                "correlation": float(np.corrcoef(v, r)[0, 1]) if varies else float("nan"),
            }
        )
    return rows


def to_markdown(rows: Sequence[dict], num_rollouts: int) -> str:
    lines = [
        f"### The value head against {num_rollouts} rollouts from the same prefix",
        "",
        "| position | prefixes | mean value | share of rollouts right | any right | correlation |",
        "| :-- | --: | --: | --: | --: | --: |",
        *(
            f"| {r['position']} | {r['count']} | {r['value']:.3f} | {r['rate']:.3f} | "
            f"{r['any']:.3f} | {r['correlation']:.2f} |"
            for r in rows
        ),
    ]
    return "\n".join(lines)
