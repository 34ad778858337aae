"""The value head learns what came of each prefix: whether a verified solution was found below it.

Binary cross-entropy, for the values are probabilities of success. A mixture with the search's own
estimate (λ, `mix`) lowers the variance; pure estimates would teach the head its own errors.
"""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
import optax

from expert_iter.learn.objectives.objective import Lessons, Objective, ObjectiveConfig, Outputs
from expert_iter.learn.packing import Batch
from expert_iter.learn.solved import won_below
from expert_iter.learn.step_tree import Column
from expert_iter.search.self_play import Searched


@dataclasses.dataclass(frozen=True)
class ValueConfig(ObjectiveConfig):
    """What the targets are.

    Attributes:
      mix: λ, the share of the search's own estimate in targets of unfinished prefixes.
      max_lost: of the finished wrong candidates of a tree, how many teach.
    """

    weight: float = 0.5
    mix: float = 0.0
    max_lost: int = 4

    def __post_init__(self):
        check = self.check("value")
        check.not_negative("max_lost")
        check.share("mix")


class Value(Objective):
    """Labels the prompt, what was continued, all that finished right, and some of what finished
    wrong.
    """

    # A prefix is worth its best continuation.
    columns = (Column("value.target", combine="max"), Column("value.weight"))
    config: ValueConfig

    def lessons(self, searched: Searched, rngs: Sequence[np.random.Generator]) -> Lessons:
        tree, mix = searched.trees, self.config.mix
        won, continued = won_below(tree), tree.child >= 0
        target = np.where(tree.candidates.finished, tree.won, won).astype(np.float32)
        estimated = (1 - mix) * target + mix * tree.q
        target = np.where(continued & ~tree.candidates.finished, estimated, target)
        finished = tree.candidates.valid & tree.candidates.finished
        labelled = (finished & tree.won) | self._drawn(finished & ~tree.won, rngs) | continued
        labelled &= tree.live[..., None]
        columns = {"value.target": target * labelled, "value.weight": labelled.astype(np.float32)}
        solved = won[:, 0].any(axis=-1).astype(np.float32)
        prompt = {"value.target": solved, "value.weight": np.ones_like(solved)}
        return Lessons(labelled, columns, prompt)

    def _drawn(self, lost: np.ndarray, rngs: Sequence[np.random.Generator]) -> np.ndarray:
        """[B, N, K] bool. At most `max_lost` of each tree's wrong candidates, at random."""
        order = np.zeros(lost.shape)
        for own, rng in zip(order, rngs, strict=True):
            own[:] = rng.random(own.shape)
        order = np.where(lost, order, np.inf).reshape(len(lost), -1)
        drawn = np.zeros(order.shape, bool)
        first = np.argsort(order, axis=-1)[:, : self.config.max_lost]
        np.put_along_axis(drawn, first, True, axis=-1)
        return drawn.reshape(lost.shape) & lost

    def loss(self, outputs: Outputs, batch: Batch):
        weight, target = batch.columns["value.weight"], batch.columns["value.target"]
        errors = optax.sigmoid_binary_cross_entropy(outputs.heads["value"], target)
        total = jnp.sum(weight * errors)
        return total, {"value_loss": (total, jnp.sum(weight))}
