"""An objective: finished wrong solutions become less likely (Welleck et al. 2020, equation 2).

See docs/objectives.md for the command.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np

from expert_iter.learn.objectives import OBJECTIVES
from expert_iter.learn.objectives.objective import Lessons, Objective, ObjectiveConfig
from expert_iter.learn.step_tree import Column


@dataclasses.dataclass(frozen=True)
class UnlikelihoodConfig(ObjectiveConfig):
    weight: float = 0.1  # config.unlikelihood.weight


class Unlikelihood(Objective):
    columns = (Column("unlikelihood.weight", along="last"),)

    def lessons(self, searched, rngs):
        tree = searched.trees
        wrong = tree.candidates.finished & tree.candidates.valid & ~tree.won & tree.live[..., None]
        return Lessons(wrong, {"unlikelihood.weight": wrong.astype(np.float32)})

    def loss(self, outputs, batch):
        weight = batch.columns["unlikelihood.weight"]
        total = -jnp.sum(weight * jnp.log1p(-jnp.exp(jnp.minimum(outputs.log_pi_RxG, -1e-4))))
        return total, {"unlikelihood_loss": (total, jnp.sum(weight))}


OBJECTIVES["unlikelihood"] = (Unlikelihood, UnlikelihoodConfig)
