"""Depth-first searches: tree of thoughts by depth, and greedy search that backtracks."""

import jax.numpy as jnp

from expert_iter.search.expansion import SearchConfig
from expert_iter.search.frontier import NEVER, Frontier

_NEWER = 10.0  # outweighs any value


def tree_of_thoughts_depth(tree: Frontier, config: SearchConfig):
    """Goes on with the best candidate of the newest node, and back where all that is left there is
    worth less than the threshold (Yao et al. 2023, algorithm 2). Ends with the budget, or where
    everything was tried.
    """
    return jnp.where(tree.value_NxK >= config.value_threshold, _newest_first(tree), NEVER)


def backtracking(tree: Frontier, config: SearchConfig):
    """Greedy by step rewards, with a way back (HGS-PRM, Ma et al. 2023, section 3.2).

    A step's reward is what it does to the value: below `step_threshold` of what its node was worth
    it counts as negative and is not taken while there is another at its node or above. Ends at the
    first solution that is the best of its node and not negative.
    """
    before = tree.value_N[:, None]
    positive = tree.value_NxK >= config.step_threshold * before
    contends = tree.open_NxK | tree.finished_NxK
    value = jnp.where(contends, tree.value_NxK, NEVER)
    is_best = value == jnp.max(value, axis=-1, keepdims=True)
    done = jnp.any(tree.finished_NxK & is_best & positive)
    # Where all that is left is negative, the least bad of it.
    priority = jnp.where(positive, _newest_first(tree), tree.value_NxK - 2)
    return jnp.where(done, NEVER, priority)


def _newest_first(tree: Frontier):
    """The newest node with something open is the top of a depth-first search's stack."""
    return tree.value_NxK + _NEWER * jnp.arange(tree.value_NxK.shape[0])[:, None]
