"""A node of a growing tree, and the record that is made of grown trees.

Shape suffixes: B rows, N nodes, K candidates a node, R rollouts from a node's candidates, T tokens
of a step and the rollout after it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from expert_iter.model.pages import Chain
from expert_iter.search.behaviour import DEAD
from expert_iter.search.bill import Bill
from expert_iter.search.candidates import Candidates
from expert_iter.search.search_config import SearchConfig
from expert_iter.search.tree import SearchTree


class Prefix(NamedTuple):
    """The steps that lead to a node.

    "..." is [B] for one node a row, [B, N] for those of growing trees.

    Attributes:
      chain: the steps' pages.
      token: [..., D, L] int32. Their tokens, padding behind each and behind the last.
      depth: [...] int32. How many there are.
      log_pi: [...] float32. The sum of their log-probabilities.
      log_value: [...] float32. The sum of the logarithms of their values.
    """

    chain: Chain
    token: jax.Array
    depth: jax.Array
    log_pi: jax.Array
    log_value: jax.Array


class Rollouts(NamedTuple):
    """Texts from a node to the end, each a candidate step and what was sampled after it.

    Attributes:
      candidates: [..., R], T tokens each. The whole texts; their prior is −1e9.
      value: [..., R] float32 in [0, 1]. The verdict, or the value head's estimate at the end; 0
        where no end was reached.
      won: [..., R] bool. It was verified, and is right.
    """

    candidates: Candidates
    value: jax.Array
    won: jax.Array


class Node(NamedTuple):
    """A prefix, and the candidates for its next step.

    "..." is [B] for one node a row, [B, N] for those of growing trees.

    Attributes:
      live: [...] bool. It continues an open candidate.
      prefix: [...]. The steps that lead to it.
      candidates: [..., K]. What was drawn.
      value: [..., K] float32 in [0, 1]. The verdict, or the estimate; 0 for a text that hit the
        limit on steps unfinished.
      won: [..., K] bool. It was verified, and is right.
      open: [..., K] bool. It can be continued.
      bill: [...]. What reading the step and drawing the candidates cost.
      rollouts: [..., R]. None where the search makes none.
    """

    live: jax.Array
    prefix: Prefix
    candidates: Candidates
    value: jax.Array
    won: jax.Array
    open: jax.Array
    bill: Bill
    rollouts: Rollouts | None

    def solved(self) -> jax.Array:
        """[...] bool. A candidate, or a rollout from one, was found right."""
        solved = jnp.any(self.won, axis=-1)
        return solved if self.rollouts is None else solved | jnp.any(self.rollouts.won, axis=-1)


def spent(node: Node) -> Bill:
    """The bill so far of trees of nodes `[B, N]`."""
    return jax.tree.map(lambda x: jnp.sum(x * node.live, axis=1), node.bill)


def next_cost(node: Node, config: SearchConfig) -> Bill:
    """What the next expansion of each tree of nodes `[B, N]` may cost: the mean of those so far but
    the root's, or at first the root's share for so many candidates.
    """
    made = jnp.sum(node.live, axis=1) - 1
    share = config.num_candidates / config.width
    return jax.tree.map(
        lambda all, x: jnp.where(made > 0, (all - x[:, 0]) / jnp.maximum(made, 1), share * x[:, 0]),
        spent(node),
        node.bill,
    )


def as_tree(
    node: Node, parent_BxN, action_BxN, child_BxNxK, visits_BxNxK, q_BxNxK, answerable_BxNxK
) -> SearchTree:
    """The record of trees of nodes `[B, N]`; rollouts become candidates of their node.

    Args:
      q_BxNxK: where visited; elsewhere q is the candidate's value.
      answerable_BxNxK: may be `[B, N, 1]`, the same for all candidates of a node.
    """
    live = node.live
    rows = jnp.arange(live.shape[0])[:, None, None]
    child = jnp.where((child_BxNxK >= 0) & live[rows, jnp.maximum(child_BxNxK, 0)], child_BxNxK, -1)
    tree = SearchTree(
        live=live,
        parent=parent_BxN,
        action=action_BxN,
        path_log_pi=node.prefix.log_pi,
        candidates=_of_live(node.candidates, live),
        value=node.value,
        won=node.won & live[..., None],
        child=child,
        visits=visits_BxNxK,
        q=jnp.where(visits_BxNxK > 0, q_BxNxK, node.value),
        answerable=jnp.broadcast_to(answerable_BxNxK, child.shape),
        bill=spent(node),
    )
    return tree if node.rollouts is None else _with_rollouts(tree, node.rollouts)


def _of_live(candidates: Candidates, live) -> Candidates:
    """Nodes that are not live have no candidates."""
    return candidates._replace(
        valid=candidates.valid & live[..., None], finished=candidates.finished & live[..., None]
    )


def _with_rollouts(tree: SearchTree, rollouts: Rollouts) -> SearchTree:
    """Appends a node's rollouts to its candidates."""
    R, K = rollouts.value.shape[-1], tree.value.shape[-1]
    T, L = rollouts.candidates.token.shape[-1], tree.candidates.token.shape[-1]
    join = lambda *parts: jnp.concatenate(parts, axis=2)  # noqa: E731
    longer = lambda x: jnp.pad(x, ((0, 0),) * 3 + ((0, T - L),))  # noqa: E731
    short = tree.candidates
    by_token = short.token, short.token_value, short.observed
    token, token_value, observed = jax.tree.map(longer, by_token)
    drawn = short._replace(token=token, token_value=token_value, observed=observed)
    constant = lambda x, value: jnp.full((*x.shape[:2], R), value, x.dtype)  # noqa: E731
    texts = _of_live(rollouts.candidates, tree.live)
    texts = texts._replace(prior_logit=constant(texts.prior_logit, DEAD))  # of empty nodes as well
    return tree._replace(
        candidates=jax.tree.map(join, drawn, texts),
        value=join(tree.value, rollouts.value),
        won=join(tree.won, rollouts.won & tree.live[..., None]),
        child=join(tree.child, constant(tree.child, -1)),
        visits=join(tree.visits, constant(tree.visits, 0)),
        q=join(tree.q, rollouts.value),
        answerable=join(tree.answerable, jnp.repeat(tree.answerable, R // K, axis=2)),
    )
