"""Breadth-first searches: step beam search, tree of thoughts by breadth, diverse-verifier search.

What guides them is a candidate's value: the value head's, that of rollouts, or a mixture
(`search.rollouts`, `search.rollout_weight`).
"""

import jax.numpy as jnp

from expert_iter.search.frontier import NEVER, Frontier
from expert_iter.search.search_config import SearchConfig

TREE_OF_THOUGHTS_KEEPS = 5  # states a level, in Yao et al. 2023, section 4.1


def beam(tree: Frontier, config: SearchConfig):
    """Step beam search, as wide as the budget allows: so many nodes a level that the last level's
    are paid for (TS-LLM, Feng et al. 2023, section 3.2).
    """
    levels = max(config.max_steps - 1, 1)  # the last level's candidates are not continued
    return _levels(tree, config, jnp.maximum(tree.planned // levels, 1))


def tree_of_thoughts_breadth(tree: Frontier, config: SearchConfig):
    """Keeps the b = 5 states with the highest value of all those at one depth (Yao et al. 2023,
    algorithm 1): a beam search of fixed width.
    """
    return _levels(tree, config, TREE_OF_THOUGHTS_KEEPS)


def _levels(tree: Frontier, config: SearchConfig, width):
    """Continues the `width` best candidates of each depth, finished ones in their places, one depth
    after the other.
    """
    priority = jnp.full(tree.value_NxK.shape, NEVER)
    for depth in reversed(range(config.max_steps)):
        here = (tree.depth_N == depth)[:, None]
        best = jnp.max(jnp.where(here & tree.open_NxK, tree.value_NxK, NEVER))
        # Those continued before were better than the best of the rest.
        places = jnp.sum(here & tree.continued_NxK)
        places += jnp.sum(here & tree.finished_NxK & (tree.value_NxK > best))
        # The first level with room and something to go on with hides those after it.
        goes_on = (places < width) & (best > NEVER)
        priority = jnp.where(goes_on, jnp.where(here, tree.value_NxK, NEVER), priority)
    return priority


def diverse(tree: Frontier, config: SearchConfig):
    """Diverse-verifier tree search (Beeching, Tunstall and Rush 2024, "Scaling test-time compute"):
    independent beams of width one, each from its own first step, which all get as far as the budget
    allows.
    """
    levels = max(config.max_steps - 1, 1)
    beams = jnp.maximum(tree.planned // levels, 1)
    at_root = (tree.depth_N == 0)[:, None]
    starts = jnp.sum(at_root & tree.continued_NxK) < beams
    contends = tree.open_NxK | tree.finished_NxK
    value = jnp.where(contends, tree.value_NxK, NEVER)
    is_best = value == jnp.max(value, axis=-1, keepdims=True)
    untried = ~jnp.any(tree.continued_NxK, axis=-1, keepdims=True)
    goes_on = tree.open_NxK & jnp.where(at_root, starts, is_best & untried)
    depth_NxK = jnp.where(goes_on, tree.depth_N[:, None], config.max_steps)
    highest = goes_on & (depth_NxK == jnp.min(depth_NxK))
    return jnp.where(highest, tree.value_NxK, NEVER)
