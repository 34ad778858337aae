"""Demonstrations are imitated: −Σ log π of their steps. The warm start, and its rehearsal."""

import dataclasses

import jax.numpy as jnp

from expert_iter.learn.objectives.objective import Figures, Objective, ObjectiveConfig, Outputs
from expert_iter.learn.packing import Batch
from expert_iter.learn.step_tree import IMITATED, Column


@dataclasses.dataclass(frozen=True)
class ImitationConfig(ObjectiveConfig):
    """Nothing beside the weight."""

    def __post_init__(self):
        self.check("imitation")


class Imitation(Objective):
    """Searches teach it nothing: demonstrations come with its column (`learn.warm_start`)."""

    columns = (Column(IMITATED),)
    config: ImitationConfig

    def loss(self, outputs: Outputs, batch: Batch) -> tuple[jnp.ndarray, Figures]:
        return weighed_log_pi("imitation_loss", batch.columns[IMITATED], outputs.log_pi_RxG)


def weighed_log_pi(figure: str, weight_RxG, log_pi_RxG) -> tuple[jnp.ndarray, Figures]:
    """−Σ w log π. A sum over a step's tokens: a mean would weigh steps by their length."""
    total = -jnp.sum(weight_RxG * log_pi_RxG)
    return total, {figure: (total, jnp.sum(weight_RxG))}
