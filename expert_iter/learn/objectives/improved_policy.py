"""The policy moves towards the search's improved policy.

π'(a) ∝ c · π/β · exp σ(q), completed Q for unvisited candidates (Danihelka et al. 2022, Gumbel
MuZero; with the sampling correction of Hubert et al. 2021, Sampled MuZero).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from expert_iter.learn.objectives.imitation import weighed_log_pi
from expert_iter.learn.objectives.objective import Lessons, Objective, ObjectiveConfig, Outputs
from expert_iter.learn.packing import Batch
from expert_iter.learn.solved import qualifying, shares, won_below
from expert_iter.learn.step_tree import Column
from expert_iter.search.self_play import Searched
from expert_iter.search.tree import SearchTree


@dataclasses.dataclass(frozen=True)
class ImprovedConfig(ObjectiveConfig):
    """Which nodes teach, and how much values count against log-priors.

    Attributes:
      nodes: 'root', 'won' (a solution was found below) or 'all'.
      min_visits: only nodes visited so often.
      value_scale, maxvisit_init: σ(q) = (maxvisit_init + max N) · value_scale · q.
    """

    nodes: str = "won"
    min_visits: int = 1
    value_scale: float = 0.1
    maxvisit_init: float = 50.0

    def __post_init__(self, section: str = "improved"):
        check = self.check(section)
        check.one_of("nodes", "root", "won", "all")
        check.at_least(1, "min_visits")
        check.not_negative("value_scale", "maxvisit_init")


class Improved(Objective):
    """The improved policy's share of a candidate is the weight of its log π."""

    columns = (Column("improved.weight", combine="sum"),)
    config: ImprovedConfig

    def lessons(self, searched: Searched, rngs: Sequence[np.random.Generator]) -> Lessons:
        weight = improved_weights(searched.trees, self.config)
        return Lessons(weight > 0, {"improved.weight": weight})

    def loss(self, outputs: Outputs, batch: Batch):
        weight = batch.columns["improved.weight"]
        return weighed_log_pi("improved_loss", weight, outputs.log_pi_RxG)


def improved_weights(tree: SearchTree, config: ImprovedConfig) -> np.ndarray:
    """[B, N, K] float. π' at each node that qualifies, else 0."""
    won = won_below(tree)
    scale = (config.maxvisit_init + tree.visits.max(axis=-1, keepdims=True)) * config.value_scale
    # A finished candidate's q is its verdict; what leads to a verified solution is solved, so it is
    # worth one.
    logit = tree.candidates.prior_logit + scale * np.where(won, 1.0, tree.q)
    logit = np.where(tree.candidates.valid, logit, -np.inf)
    weight = np.exp(logit - logit.max(axis=-1, keepdims=True, initial=-1e30))
    return shares(weight, qualifying(tree, won, config.nodes, config.min_visits))
