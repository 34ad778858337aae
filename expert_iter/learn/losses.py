"""The loss: the policy head towards the search's choice among steps, the value head towards what
came of them.

Shape suffixes as in `packing`: R rows, T tokens a row, G steps a row.
"""

import dataclasses

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Sharding

from expert_iter.checks import Checks
from expert_iter.learn.packing import Batch
from expert_iter.model.transformer import Network


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """policy: 'steps' is −Σ w log π(step), summed over tokens; 'set' is −Σ w log softmax over a
    node's candidates of log π(step) + correction, which also pushes the others down. value_weight:
    of the value loss beside the policy's.
    """

    policy: str = "steps"
    value_weight: float = 0.5

    def __post_init__(self):
        check = Checks("loss", self)
        check.one_of("policy", "steps", "set")
        check.not_negative("value_weight")


def tree_mask(step_RxT, ancestor_RxGxG):
    """Attention mask `[R, T, T]`: a token sees the tokens before it in its own step and all of the
    steps before that.
    """
    T, G = step_RxT.shape[1], ancestor_RxGxG.shape[1]
    member = jax.nn.one_hot(step_RxT, G)
    on_path = (
        jnp.einsum("rtg,rgh,ruh->rtu", member, ancestor_RxGxG.astype(member.dtype), member) > 0.5
    )
    return (on_path & jnp.tril(jnp.ones((T, T), bool))) | jnp.eye(T, dtype=bool)


def step_log_probs(network: Network, params, batch: Batch, where: Sharding | None = None):
    """Runs the network over packed trees.

    where: on which devices the batch's rows lie (see `Network.hidden`).

    Returns log π of every step given its path, `[R, G]`, and the value's log-odds at its end, `[R,
    G]`. (A prompt's first token is predicted by nothing: the log π of prompts means nothing and
    must have no weight.)
    """
    mask = tree_mask(batch.step_RxT, batch.ancestor_RxGxG)
    hidden, _ = network.hidden(params, batch.token_RxT, batch.position_RxT, mask, rows=where)
    # Row by row: of indices of rows and places XLA does not see that they stay within a device's
    # rows, and would have every device look at the rows of all.
    at = jax.vmap(lambda hidden_TxD, places: hidden_TxD[places])
    logits = network.logits(params, at(hidden, batch.before_RxT))
    log_prob = -optax.softmax_cross_entropy_with_integer_labels(logits, batch.token_RxT)
    member = jax.nn.one_hot(batch.step_RxT, batch.end_RxG.shape[1])
    log_pi = jnp.einsum("rt,rtg->rg", log_prob, member)
    return log_pi, network.value_logit(params, at(hidden, batch.end_RxG))


def loss(network: Network, params, batch: Batch, config: LossConfig, where: Sharding | None = None):
    """Total loss of a batch, and its parts: each a sum over the batch, and the weight it has there.
    All are divided by the number of rows, a constant: a mean over what happens to be in the batch
    would weigh the same step differently from batch to batch. So those of a batch are the means of
    those of its parts, of as many rows each.
    """
    rows = batch.token_RxT.shape[0]
    log_pi, value_logit = step_log_probs(network, params, batch, where)
    scored = log_pi
    if config.policy == "set":
        siblings = (
            batch.parent_RxG[:, :, None] == batch.parent_RxG[:, None, :]
        ) & batch.in_set_RxG[:, None, :]
        logit = log_pi + batch.correction_RxG
        among = jnp.where(siblings, logit[:, None, :], -1e30)
        normalised = logit - jax.nn.logsumexp(among, axis=-1)
        # Steps outside any set (demonstrations) are learned as such.
        scored = jnp.where(batch.in_set_RxG, normalised, log_pi)
    policy = -jnp.sum(batch.policy_weight_RxG * scored) / rows
    errors = optax.sigmoid_binary_cross_entropy(value_logit, batch.value_target_RxG)
    value = jnp.sum(batch.value_weight_RxG * errors) / rows
    parts = {
        "policy_loss": (policy, jnp.sum(batch.policy_weight_RxG) / rows),
        "value_loss": (value, jnp.sum(batch.value_weight_RxG) / rows),
    }
    return policy + config.value_weight * value, parts
