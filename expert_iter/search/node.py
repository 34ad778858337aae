"""A node of a growing tree, and the record that is made of grown trees.

Shape suffixes: B rows, N nodes, K candidates a node, D steps a prefix at most, L tokens a step, R
rollouts from a node's candidates, T tokens of a step and the rollout after it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from expert_iter.model.pages import Chain
from expert_iter.search.bill import Bill
from expert_iter.search.candidates import DEAD
from expert_iter.search.search_config import SearchConfig
from expert_iter.search.tree import SearchTree


class Rollouts(NamedTuple):
    """Texts from a node to the end, each a candidate step and what was sampled after it.

    Fields as in `Candidates`; worth_BxR: the verdict, or the value head's estimate at the end, or 0
    where no end was reached.
    """

    token_BxRxT: jax.Array
    length_BxR: jax.Array
    log_pi_BxR: jax.Array
    log_beta_BxR: jax.Array
    token_value_BxRxT: jax.Array
    value_BxR: jax.Array
    worth_BxR: jax.Array
    valid_BxR: jax.Array
    finished_BxR: jax.Array
    won_BxR: jax.Array


class Node(NamedTuple):
    """A prefix, and the candidates for its next step.

    live_B: it continues an open candidate. chain: its pages; prefix_BxDxL: their tokens; depth_B:
    their number; path_log_pi_B: their log-probability; path_log_value_B: the sum of the logarithms
    of their values. The rest describes its K candidates; value_BxK is the verdict, or the estimate,
    or 0 for a text that hit the limit on steps unfinished; open_BxK: it can be continued. bill:
    what reading the step and drawing the candidates cost. rollouts: where there are any.
    """

    live_B: jax.Array
    chain: Chain
    prefix_BxDxL: jax.Array
    depth_B: jax.Array
    path_log_pi_B: jax.Array
    path_log_value_B: jax.Array
    token_BxKxL: jax.Array
    length_BxK: jax.Array
    valid_BxK: jax.Array
    count_BxK: jax.Array
    prior_logit_BxK: jax.Array
    log_pi_BxK: jax.Array
    log_beta_BxK: jax.Array
    token_value_BxKxL: jax.Array
    model_value_BxK: jax.Array
    value_BxK: jax.Array
    finished_BxK: jax.Array
    won_BxK: jax.Array
    open_BxK: jax.Array
    bill: Bill
    rollouts: Rollouts | None


def spent(node: Node) -> Bill:
    """The bill so far of trees of nodes `[B, N, ...]`."""
    return jax.tree.map(lambda x: jnp.sum(x * node.live_B, axis=1), node.bill)


def next_cost(node: Node, config: SearchConfig) -> Bill:
    """What the next expansion of each tree of nodes `[B, N, ...]` may cost: the mean of those so
    far but the root's, or at first the root's share for so many candidates.
    """
    made = jnp.sum(node.live_B, axis=1) - 1
    share = config.num_candidates / config.width
    return jax.tree.map(
        lambda all, x: jnp.where(made > 0, (all - x[:, 0]) / jnp.maximum(made, 1), share * x[:, 0]),
        spent(node),
        node.bill,
    )


def as_tree(
    node: Node, parent_BxN, action_BxN, child_BxNxK, visits_BxNxK, q_BxNxK, answerable_BxNxK
) -> SearchTree:
    """The record of trees of nodes `[B, N, ...]`; rollouts become candidates of their node.

    q_BxNxK: where visited; elsewhere q is the candidate's value. answerable_BxNxK may be `[B, N]`.
    """
    live = node.live_B
    rows = jnp.arange(live.shape[0])[:, None, None]
    child = jnp.where((child_BxNxK >= 0) & live[rows, jnp.maximum(child_BxNxK, 0)], child_BxNxK, -1)
    answerable = jnp.broadcast_to(
        answerable_BxNxK if answerable_BxNxK.ndim == 3 else answerable_BxNxK[..., None], child.shape
    )
    tree = SearchTree(
        live=live,
        parent=parent_BxN,
        action=action_BxN,
        token=node.token_BxKxL,
        length=node.length_BxK,
        valid=node.valid_BxK & live[..., None],
        count=node.count_BxK,
        prior_logit=node.prior_logit_BxK,
        log_pi=node.log_pi_BxK,
        log_beta=node.log_beta_BxK,
        path_log_pi=node.path_log_pi_B,
        token_value=node.token_value_BxKxL,
        model_value=node.model_value_BxK,
        value=node.value_BxK,
        finished=node.finished_BxK & live[..., None],
        won=node.won_BxK & live[..., None],
        child=child,
        visits=visits_BxNxK,
        q=jnp.where(visits_BxNxK > 0, q_BxNxK, node.value_BxK),
        answerable=answerable,
        bill=spent(node),
    )
    return tree if node.rollouts is None else _with_rollouts(tree, node.rollouts)


def _with_rollouts(tree: SearchTree, r: Rollouts) -> SearchTree:
    """Appends a node's rollouts to its candidates."""
    long = r.token_BxRxT.shape[-1] - tree.token.shape[-1]
    longer = lambda x: jnp.pad(x, ((0, 0),) * 3 + ((0, long),))  # noqa: E731
    join = lambda *parts: jnp.concatenate(parts, axis=2)  # noqa: E731
    shape = r.length_BxR.shape
    m = shape[-1] // tree.valid.shape[-1]
    return tree._replace(
        token=join(longer(tree.token), r.token_BxRxT),
        token_value=join(longer(tree.token_value), r.token_value_BxRxT),
        length=join(tree.length, r.length_BxR),
        valid=join(tree.valid, r.valid_BxR & tree.live[..., None]),
        count=join(tree.count, r.valid_BxR.astype(tree.count.dtype)),
        prior_logit=join(tree.prior_logit, jnp.full(shape, DEAD)),
        log_pi=join(tree.log_pi, r.log_pi_BxR),
        log_beta=join(tree.log_beta, r.log_beta_BxR),
        model_value=join(tree.model_value, r.value_BxR),
        value=join(tree.value, r.worth_BxR),
        finished=join(tree.finished, r.finished_BxR & tree.live[..., None]),
        won=join(tree.won, r.won_BxR & tree.live[..., None]),
        child=join(tree.child, jnp.full(shape, -1, tree.child.dtype)),
        visits=join(tree.visits, jnp.zeros(shape, tree.visits.dtype)),
        q=join(tree.q, r.worth_BxR),
        answerable=join(tree.answerable, jnp.repeat(tree.answerable, m, axis=2)),
    )
