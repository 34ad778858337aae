"""Rollouts from any prefix, as a measurement: how often completions of it come right.

This needs the verifier, so it is for training and for judging a value head, never for answering.
"""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from expert_iter.search.experts import ExpertSettings, build
from expert_iter.search.player import Player
from expert_iter.tasks.task import Problem, Question


class Rollouts:
    """Completes prefixes `num_rollouts` times each, by independent samples of the policy."""

    def __init__(self, parts, num_rollouts: int, batch_size: int):
        settings = parts.settings
        guess = dataclasses.replace(settings.guess, num_samples=num_rollouts)
        experts = ExpertSettings(settings.search, settings.sampler, guess)
        self.parts, self.num_rollouts = parts, num_rollouts
        expert = build("samples", parts.network, experts, parts.steps)
        self._player = Player(expert, parts.tokenizer, batch_size, parts.layout)

    def success_rates(
        self, params, problems: Sequence[Problem], prefixes: Sequence[str], key
    ) -> np.ndarray:
        """The share `[prefixes]` of completions of each prefix that solve its problem."""
        rates, size = [], self._player.batch_size
        for begin in range(0, len(prefixes), size):
            rows = range(begin, min(begin + size, len(prefixes)))
            questions = [
                Question(f"{problems[i].id}\n{prefixes[i]}", problems[i].prompt + prefixes[i])
                for i in rows
            ]
            tree = self._player.play(params, questions, key, self.num_rollouts)
            for b, i in enumerate(rows):
                rates.append(self._rate(tree, b, problems[i], prefixes[i]))
        return np.array(rates)

    def _rate(self, tree, b: int, problem: Problem, prefix: str) -> float:
        c = jax.tree.map(lambda x: x[b, 0], tree.candidates)
        finished = np.flatnonzero(c.valid & c.finished)
        tokens = [c.token[k, : c.length[k] - 1].tolist() for k in finished]
        texts = [prefix + self.parts.tokenizer.decode(written) for written in tokens]
        right = self.parts.verifier.verify([problem] * len(texts), texts)
        return float(np.dot(c.count[finished], right)) / self.num_rollouts


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
