"""Of two candidates of a node the better one is preferred: DPO on sibling steps.

−log sigmoid(β [(log π(a) − log ρ(a)) − (log π(b) − log ρ(b))]) (Rafailov et al. 2023, equation 7),
over steps a, b of one node with Q(a) − Q(b) of at least a margin (as Step-DPO, Lai et al. 2024, and
ReST-MCTS*'s preference pairs). The reference ρ is the network that searched, frozen in what it
recorded, so that no second network is kept.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from expert_iter.learn.objectives.objective import Lessons, Objective, ObjectiveConfig, Outputs
from expert_iter.learn.packing import Batch
from expert_iter.learn.solved import won_below
from expert_iter.learn.step_tree import Column
from expert_iter.search.self_play import Searched


@dataclasses.dataclass(frozen=True)
class PreferencesConfig(ObjectiveConfig):
    """Which pairs there are, and how far from the reference they may lead.

    Attributes:
      margin: the least difference of two candidates' Q.
      beta: how strongly the network is held to the reference.
    """

    margin: float = 0.5
    beta: float = 0.1

    def __post_init__(self):
        check = self.check("step_preferences")
        check.positive("margin", "beta")


class StepPreferences(Objective):
    """All pairs of a node count alike, and each node with pairs weighs one. Candidates of several
    steps are in no pair.
    """

    columns = (
        Column("step_preferences.q", along="alone"),
        Column("step_preferences.reference", along="alone"),
        Column("step_preferences.compared", dtype="bool", along="alone", family=True),
    )
    config: PreferencesConfig

    def lessons(self, searched: Searched, rngs: Sequence[np.random.Generator]) -> Lessons:
        tree = searched.trees
        there = tree.candidates.valid & tree.live[..., None]
        # What leads to a verified solution is solved, whatever the mean of its visits.
        q = np.where(won_below(tree), 1.0, tree.q)
        highest = np.where(there, q, -np.inf).max(axis=-1, keepdims=True)
        lowest = np.where(there, q, np.inf).min(axis=-1, keepdims=True)
        # A candidate is in a pair if it is with the best or with the worst of its node.
        margin = self.config.margin
        compared = there & ((highest - q >= margin) | (q - lowest >= margin))
        columns = {
            "step_preferences.q": np.where(compared, q, 0.0),
            "step_preferences.reference": np.where(compared, tree.candidates.log_pi, 0.0),
            "step_preferences.compared": compared,
        }
        return Lessons(compared, columns)

    def loss(self, outputs: Outputs, batch: Batch):
        c, columns = self.config, batch.columns
        compared = columns["step_preferences.compared"]
        q = columns["step_preferences.q"]
        pairs = batch.siblings_RxGxG & compared[:, :, None] & compared[:, None, :]
        pairs &= q[:, :, None] - q[:, None, :] >= c.margin
        # Both steps' share of the pairs of their node: those that begin at a sibling.
        begun = jnp.sum(pairs, axis=-1)
        of_node = jnp.sum(batch.siblings_RxGxG * begun[:, None, :], axis=-1)
        weight = pairs / jnp.maximum(of_node, 1)[:, :, None]
        moved = c.beta * (outputs.log_pi_RxG - columns["step_preferences.reference"])
        gap = moved[:, :, None] - moved[:, None, :]
        total = -jnp.sum(weight * jax.nn.log_sigmoid(gap))
        agree = jnp.sum(weight * (gap > 0))
        return total, {
            "preference_loss": (total, jnp.sum(weight)),
            "preferred": (agree, jnp.sum(weight)),
        }
