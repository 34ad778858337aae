"""The network over packed step trees, and the sum of the objectives' losses.

Shape suffixes as in `packing`: R rows, T tokens a row, G steps a row.
"""

import collections
import itertools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax.sharding import Sharding

from expert_iter.learn.objectives.objective import Figures, Objective, Outputs
from expert_iter.learn.packing import Batch
from expert_iter.learn.step_tree import OBSERVED
from expert_iter.learn.token_log_probs import token_log_probs
from expert_iter.model.transformer import Network


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


def step_outputs(network: Network, params, batch: Batch, where: Sharding | None = None) -> Outputs:
    """Runs the network over packed trees.

    A prompt's first token is predicted by nothing: the log π of prompts means nothing and must have
    no weight.

    Args:
      where: on which devices the batch's rows lie (see `Network.hidden`).
    """
    mask = tree_mask(batch.step_RxT, batch.ancestor_RxGxG)
    hidden, _ = network.hidden(params, batch.token_RxT, batch.position_RxT, mask, rows=where)
    # Row by row: of indices of rows and places XLA does not see that they stay within a device's
    # rows, and would have every device look at the rows of all.
    at = jax.vmap(lambda hidden_TxD, places: hidden_TxD[places])
    before = at(hidden, batch.before_RxT)
    log_prob = token_log_probs(network, params, before, batch.token_RxT, where)
    member = jax.nn.one_hot(batch.step_RxT, batch.end_RxG.shape[1])
    # What a world wrote behind a step is not the policy's.
    last_RxG = batch.end_RxG - batch.columns[OBSERVED]
    written = jnp.arange(member.shape[1])[None, :, None] <= last_RxG[:, None]
    log_pi = jnp.einsum("rt,rtg->rg", log_prob, member * written)
    at_end = at(hidden, batch.end_RxG)
    heads = {name: network.head_logit(params, at_end, name) for name in network.heads}
    return Outputs(log_pi, heads)


def loss(
    network: Network,
    params,
    batch: Batch,
    objectives: Mapping[str, Objective],
    where: Sharding | None = None,
) -> tuple[jax.Array, Figures]:
    """Weighed sum of the objectives' losses on a batch, and their figures. One that several give is
    named OBJECTIVE.FIGURE.

    All are divided by the number of rows, a constant: a mean over what happens to be in the batch
    would weigh the same step differently from batch to batch. So those of a batch are the means of
    those of its parts, of as many rows each.
    """
    rows = batch.token_RxT.shape[0]
    outputs = step_outputs(network, params, batch, where)
    total, figures = 0.0, {}
    for name, objective in objectives.items():
        own, figures[name] = objective.loss(outputs, batch)
        total += objective.config.weight * (own / rows)
    given = collections.Counter(itertools.chain(*figures.values()))
    return total, {
        figure if given[figure] == 1 else f"{name}.{figure}": (sum / rows, weight / rows)
        for name, own in figures.items()
        for figure, (sum, weight) in own.items()
    }
