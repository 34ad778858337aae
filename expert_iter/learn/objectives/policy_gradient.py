"""Policy gradient on trees: a candidate's advantage is its Q less the value of its node.

The loss is PPO's clipped one (Schulman et al. 2017, equation 7), −min(r A, clip(r, 1 ± ε) A), where
r is the candidate's probability against the recorded behaviour's. The value of a node is the mean Q
of what was drawn there. So on flat guesses, with advantages divided by their deviation, it is GRPO
(Shao et al. 2024) with the ratio of whole texts (GSPO, Zheng et al. 2025, without its root).
"""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from expert_iter.learn.objectives.objective import Lessons, Objective, ObjectiveConfig, Outputs
from expert_iter.learn.packing import Batch
from expert_iter.learn.step_tree import Column
from expert_iter.search.self_play import Searched
from expert_iter.search.tree import SearchTree


@dataclasses.dataclass(frozen=True)
class PolicyGradientConfig(ObjectiveConfig):
    """How advantages are scaled and ratios clipped.

    Attributes:
      clip: ε; the ratio counts between 1 − ε and 1 + ε.
      normalise: divide a node's advantages by their standard deviation, as GRPO does.
    """

    clip: float = 0.2
    normalise: bool = True

    def __post_init__(self):
        self.check("policy_gradient").positive("clip")


# The ratio of a whole text that was drawn long ago can be too large for float32, and infinity times
# 0 is no number. This bound is far beyond the clip, and gradients of such a ratio can be squared.
_LARGEST_LOG_RATIO = 20.0


class PolicyGradient(Objective):
    """A node whose candidates are worth the same teaches nothing. Each other weighs one, shared by
    its draws.
    """

    columns = (
        Column("policy_gradient.advantage", along="last"),
        Column("policy_gradient.weight", along="last"),
        Column("policy_gradient.behaviour", along="last"),
        Column("policy_gradient.steps", along="steps"),
    )
    config: PolicyGradientConfig

    def lessons(self, searched: Searched, rngs: Sequence[np.random.Generator]) -> Lessons:
        tree = searched.trees
        advantage, weight = advantages(tree, self.config.normalise)
        taught = weight > 0
        columns = {
            "policy_gradient.advantage": advantage,
            "policy_gradient.weight": weight,
            "policy_gradient.behaviour": np.where(taught, tree.candidates.log_beta, 0.0),
            "policy_gradient.steps": taught.astype(np.float32),
        }
        return Lessons(taught, columns)

    def loss(self, outputs: Outputs, batch: Batch):
        columns, clip = batch.columns, self.config.clip
        weight = columns["policy_gradient.weight"]
        log_ratio = _of_candidate(outputs.log_pi_RxG, batch) - columns["policy_gradient.behaviour"]
        log_ratio = jnp.where(weight > 0, jnp.minimum(log_ratio, _LARGEST_LOG_RATIO), 0.0)
        ratio = jnp.exp(log_ratio)
        advantage = columns["policy_gradient.advantage"]
        gained = jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - clip, 1 + clip) * advantage)
        total = -jnp.sum(weight * gained)
        clipped = jnp.sum(weight * (jnp.abs(ratio - 1) > clip))
        return total, {
            "policy_gradient_loss": (total, jnp.sum(weight)),
            "clipped": (clipped, jnp.sum(weight)),
        }


def advantages(tree: SearchTree, normalise: bool) -> tuple[np.ndarray, np.ndarray]:
    """Advantages [B, N, K] of candidates, and their weights: shares of their node's draws.

    Both are 0 where nothing is to be learned. Q is the verdict where the text is finished, else
    what the search made of it.
    """
    c = tree.candidates
    q = np.where(c.finished, tree.won, tree.q).astype(np.float64)
    drawn = c.count * (c.valid & tree.live[..., None])
    share = drawn / np.maximum(drawn.sum(axis=-1, keepdims=True), 1)
    advantage = (q - (share * q).sum(axis=-1, keepdims=True)) * (drawn > 0)
    deviation = np.sqrt((share * advantage**2).sum(axis=-1, keepdims=True))
    teaches = deviation > 1e-6
    if normalise:
        advantage = advantage / np.where(teaches, deviation, 1.0)
    advantage = advantage * teaches
    return advantage, share * (advantage != 0)


def _of_candidate(log_pi_RxG, batch: Batch):
    """[R, G]. log π of the whole candidate that ends with each step: of its last `steps` steps."""
    depth = jnp.sum(batch.ancestor_RxGxG, axis=-1)
    behind = depth[:, :, None] - depth[:, None, :]
    steps = batch.columns["policy_gradient.steps"]
    own = batch.ancestor_RxGxG & (behind < steps[:, :, None])
    return jnp.einsum("rgh,rh->rg", own.astype(log_pi_RxG.dtype), log_pi_RxG)
