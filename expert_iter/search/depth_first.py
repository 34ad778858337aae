"""Depth-first searches: tree of thoughts by depth, and greedy search that backtracks."""

import jax.numpy as jnp

from expert_iter.search.frontier import NEVER, Frontier
from expert_iter.search.search_config import SearchConfig


def tree_of_thoughts_depth(tree: Frontier, config: SearchConfig):
    """Goes on with the best candidate of the newest node, and back where all that is left there is
    worth less than the threshold (Yao et al. 2023, algorithm 2). Ends with the budget, or where
    everything was tried.
    """
    may = tree.open_NxK & (tree.value_NxK >= config.value_threshold)
    return jnp.where(_at_newest(may), tree.value_NxK, NEVER)


def backtracking(tree: Frontier, config: SearchConfig):
    """Greedy by step rewards, with a way back (HGS-PRM, Ma et al. 2023, section 3.2).

    A step's reward is what it does to the value: below `step_threshold` of what its node was worth
    it counts as negative and is not taken while there is another at its node or above. Ends at the
    first solution that is the best of its node and not negative.
    """
    before = tree.value_N[:, None]
    contends = tree.open_NxK | tree.finished_NxK
    positive = contends & (tree.value_NxK >= config.step_threshold * before)
    at_top = _at_newest(positive)
    best = jnp.max(jnp.where(at_top, tree.value_NxK, NEVER))
    done = jnp.any(at_top & tree.finished_NxK & (tree.value_NxK == best))
    # Where all that is left is negative, the least bad of it.
    take = jnp.where(jnp.any(positive), at_top, True)
    return jnp.where(take & ~done, tree.value_NxK, NEVER)


def _at_newest(mask_NxK):
    """The newest node with something is the top of a depth-first search's stack."""
    number = jnp.arange(mask_NxK.shape[0])
    newest = jnp.max(jnp.where(jnp.any(mask_NxK, axis=-1), number, -1))
    return mask_NxK & (number == newest)[:, None]
