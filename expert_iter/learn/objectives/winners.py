"""Guess-and-check: steps that lead to a verified solution are imitated.

STaR (Zelikman et al. 2022), ReST-EM (Singh et al. 2023), and the winning paths of a tree.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from expert_iter.learn.objectives.imitation import weighed_log_pi
from expert_iter.learn.objectives.objective import Lessons, ObjectiveConfig, Outputs
from expert_iter.learn.packing import Batch
from expert_iter.learn.solved import qualifying, shares, won_below
from expert_iter.learn.step_tree import Column
from expert_iter.search.self_play import Searched
from expert_iter.search.tree import SearchTree


@dataclasses.dataclass(frozen=True)
class WinnersConfig(ObjectiveConfig):
    """Which nodes teach.

    Attributes:
      nodes: 'root', or 'won': each node below which a solution was found.
      min_visits: only nodes visited so often.
    """

    nodes: str = "won"
    min_visits: int = 1

    def __post_init__(self):
        check = self.check("winners")
        check.one_of("nodes", "root", "won")
        check.at_least(1, "min_visits")


class Winners:
    """The weight of a node is shared by its candidates that lead to a solution."""

    columns = (Column("winners.weight", combine="sum"),)
    heads = ()

    def __init__(self, config: WinnersConfig):
        self.config = config

    def lessons(self, searched: Searched, rngs: Sequence[np.random.Generator]) -> Lessons:
        tree, c = searched.trees, self.config
        weight = winner_weights(tree, won_below(tree), c.nodes, c.min_visits)
        return Lessons(weight > 0, {"winners.weight": weight})

    def loss(self, outputs: Outputs, batch: Batch):
        return weighed_log_pi("winners_loss", batch.columns["winners.weight"], outputs.log_pi_RxG)


def winner_weights(tree: SearchTree, won: np.ndarray, nodes: str, min_visits: int) -> np.ndarray:
    """[B, N, K] float. Uniform over a node's winners; see `solved` for the arguments."""
    qualifies = qualifying(tree, won, nodes, min_visits) & won.any(axis=-1)
    return shares(won.astype(np.float64), qualifies)
