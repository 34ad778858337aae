"""A node's weights are learned by a softmax among its candidates, which pushes the others down.

−Σ w log softmax_i(log π(a_i) + correction_i), the correction making log π a prior among the
candidates that were drawn: log c − log β, or −log q (Hubert et al. 2021, section 4).
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from expert_iter.learn.objectives.imitation import weighed_log_pi
from expert_iter.learn.objectives.improved_policy import ImprovedConfig, improved_weights
from expert_iter.learn.objectives.objective import Lessons, Objective, Outputs
from expert_iter.learn.objectives.winners import winner_weights
from expert_iter.learn.packing import Batch
from expert_iter.learn.step_tree import Column
from expert_iter.search.self_play import Searched


@dataclasses.dataclass(frozen=True)
class SetNormalisedConfig(ImprovedConfig):
    """As of `improved`, and towards what.

    Attributes:
      towards: 'improved' policy, or 'winners'.
    """

    towards: str = "improved"

    def __post_init__(self):
        super().__post_init__("set_normalised")
        self.check("set_normalised").one_of("towards", "improved", "winners")


class SetNormalised(Objective):
    """All candidates of a node that teaches are kept. One of several steps is in no set: its steps
    are imitated with its weight.
    """

    columns = (
        Column("set_normalised.weight", combine="sum"),
        Column("set_normalised.correction", along="alone"),
        Column("set_normalised.in_set", dtype="bool", along="alone", family=True),
    )
    config: SetNormalisedConfig

    def lessons(self, searched: Searched, rngs: Sequence[np.random.Generator]) -> Lessons:
        weights = winner_weights if self.config.towards == "winners" else improved_weights
        weight, drawn = weights(searched.trees, self.config), searched.trees.candidates
        in_set = drawn.valid & (weight > 0).any(axis=-1, keepdims=True)
        columns = {
            "set_normalised.weight": weight,
            "set_normalised.correction": np.where(in_set, drawn.prior_logit - drawn.log_pi, 0.0),
            "set_normalised.in_set": in_set,
        }
        return Lessons(in_set, columns)

    def loss(self, outputs: Outputs, batch: Batch):
        in_set = batch.columns["set_normalised.in_set"]
        among = batch.siblings_RxGxG & in_set[:, None, :]
        logit = outputs.log_pi_RxG + batch.columns["set_normalised.correction"]
        of_set = jnp.where(among, logit[:, None, :], -1e30)
        normalised = logit - jax.nn.logsumexp(of_set, axis=-1)
        scored = jnp.where(in_set, normalised, outputs.log_pi_RxG)
        weight = batch.columns["set_normalised.weight"]
        return weighed_log_pi("set_normalised_loss", weight, scored)
