"""Move by move: a tree search that commits to one step after another, as AlphaZero plays.

After each share of its simulations a row chooses among the steps at the node it stands at, leaves
all others behind, and searches on below the chosen one, whose tree it keeps.
"""

import jax.numpy as jnp
import mctx

from expert_iter.search import selection


def commit(tree: mctx.Tree, simulations, config) -> selection.SearchState:
    """Commits the rows to their next step whose share of simulations is used up.

    Chosen is what the improved policy favours among the candidates that were visited or are
    finished; a finished one ends the row.
    """
    state: selection.SearchState = tree.extra_data
    node = tree.embeddings
    rows = jnp.arange(tree.node_visits.shape[0])
    at = state.at
    depth = node.prefix.depth[rows, at]
    share = (depth + 1) * state.planned // config.max_steps
    visits = tree.children_visits[rows, at]
    value = jnp.where(visits > 0, tree.children_values[rows, at], node.value[rows, at])
    finished = node.candidates.finished[rows, at]
    score = node.candidates.prior_logit[rows, at] + selection.sigma(value, visits, config)
    can_be_chosen = node.candidates.valid[rows, at] & (finished | (visits > 0))
    action = jnp.argmax(jnp.where(can_be_chosen, score, -jnp.inf), axis=-1)
    due = (simulations >= share) & jnp.any(can_be_chosen, axis=-1)

    others = jnp.arange(score.shape[-1]) != action[:, None]
    open_here = state.open[rows, at] & ~(due[:, None] & others)
    open_BxNxK = state.open.at[rows, at].set(open_here)
    ends = due & finished[rows, action]
    moved = due & ~ends
    below = tree.children_index[rows, at, action]
    at = jnp.where(moved, below, at)
    return state._replace(
        open=selection.close_upwards(tree, open_BxNxK, at, config.max_steps),
        at=at,
        ended=jnp.where(ends, action, state.ended),
    )


def answerable(tree: mctx.Tree):
    """Mask `[B, N, K]` of the candidates that are not left behind."""
    state, node = tree.extra_data, tree.embeddings
    rows = jnp.arange(tree.node_visits.shape[0])
    number = jnp.arange(tree.node_visits.shape[1])
    # A node's page has its number: the page at the depth of `at` says whether `at` is an ancestor.
    depth = node.prefix.depth[rows, state.at]
    last = jnp.maximum(depth - 1, 0)[:, None, None]
    ancestor = jnp.take_along_axis(node.prefix.chain.page_BxD, last, axis=2)[..., 0]
    below = (ancestor == state.at[:, None]) | (depth == 0)[:, None]
    K = node.candidates.valid.shape[-1]
    chosen = (number == state.at[:, None])[..., None] & (
        jnp.arange(K) == state.ended[:, None, None]
    )
    return jnp.where((state.ended >= 0)[:, None, None], chosen, below[..., None])
