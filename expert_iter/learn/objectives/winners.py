"""Guess-and-check: steps that lead to a verified solution are imitated.

STaR (Zelikman et al. 2022), ReST-EM (Singh et al. 2023), and the winning paths of a tree.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from expert_iter.learn.objectives.imitation import weighed_log_pi
from expert_iter.learn.objectives.improved_policy import ImprovedConfig
from expert_iter.learn.objectives.objective import Lessons, Objective, ObjectiveConfig, Outputs
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


class Winners(Objective):
    """The weight of a node is shared by its candidates that lead to a solution."""

    columns = (Column("winners.weight", combine="sum"),)
    config: WinnersConfig

    def lessons(self, searched: Searched, rngs: Sequence[np.random.Generator]) -> Lessons:
        weight = winner_weights(searched.trees, self.config)
        return Lessons(weight > 0, {"winners.weight": weight})

    def loss(self, outputs: Outputs, batch: Batch):
        return weighed_log_pi("winners_loss", batch.columns["winners.weight"], outputs.log_pi_RxG)


def winner_weights(tree: SearchTree, config: WinnersConfig | ImprovedConfig) -> np.ndarray:
    """[B, N, K] float. Uniform over the winners of each node that qualifies."""
    won = won_below(tree)
    qualifies = qualifying(tree, won, config.nodes, config.min_visits) & won.any(axis=-1)
    return shares(won.astype(np.float64), qualifies)
