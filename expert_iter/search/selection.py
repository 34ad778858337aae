"""Which candidate a simulation descends into: the rules of Gumbel MuZero and of PUCT, over open
candidates only.

A candidate is *open* while something can still be learned below it: it exists, its text is not
finished, and not everything below it is finished. Finished candidates have their value from the
moment they are generated, so no simulation is spent on them. Where all candidates are open the
rules are mctx's own, with two departures: values are probabilities and so are not rescaled, and an
unvisited candidate counts with its own value, not the node's.

The rules have the signature of mctx, with the settings before it. They see one row of the tree
(mctx vmaps them). Shapes: B rows, N nodes, K candidates.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from expert_iter.search.search_config import SearchConfig

CLOSED = -1e9
OFF_SCHEDULE = 1e4  # outweighs any Gumbel noise, log-prior and value


class SearchState(NamedTuple):
    """What the rules need beside mctx's tree (its `extra_data`); they see a row of it.

    Attributes:
      root_gumbel: [B, K] float32. Noise of the root's choice.
      open: [B, N, K] bool. Which candidates are open.
      planned: [B] int32. How many simulations the row expects to make, all in all.
      at: [B] int32. The node that a search move by move stands at.
      ended: [B] int32. The finished candidate there with which it ended, or −1.
    """

    root_gumbel: jax.Array
    open: jax.Array
    planned: jax.Array
    at: jax.Array
    ended: jax.Array


def close_upwards(tree, open_BxNxK, node_B, max_depth: int):
    """Closes the candidate that leads to a node `node_B` with nothing open, and so on upwards, of B
    trees.
    """
    rows = jnp.arange(node_B.shape[0])
    for _ in range(max_depth):
        closed = ~jnp.any(open_BxNxK[rows, node_B], axis=-1) & (node_B > 0)
        parent = jnp.maximum(tree.parents[rows, node_B], 0)
        action = jnp.maximum(tree.action_from_parent[rows, node_B], 0)
        still = open_BxNxK[rows, parent, action] & ~closed
        open_BxNxK = open_BxNxK.at[rows, parent, action].set(still)
        node_B = jnp.where(closed, parent, 0)
    return open_BxNxK


def completed_qvalues(tree, node):
    """Q of all K candidates of a node: the search's mean where visited, else the candidate's own
    value.
    """
    own = tree.embeddings.value[node]
    return jnp.where(tree.children_visits[node] > 0, tree.qvalues(node), own)


def sigma(qvalues, visits, config: SearchConfig):
    """σ(q) = (c_visit + max_b N(b)) · c_scale · q (Danihelka et al. 2022, equation 8), over the
    last axis.
    """
    most = jnp.max(visits, axis=-1, keepdims=True)
    return (config.maxvisit_init + most) * config.value_scale * qvalues


def improved_policy(prior_logits, qvalues, visits, config: SearchConfig):
    """π' = softmax(logits + σ(completed q)) (Danihelka et al. 2022, equation 11), over the last
    axis.
    """
    return jax.nn.softmax(prior_logits + sigma(qvalues, visits, config), axis=-1)


def considered_visit(num_candidates: int, num_considered, num_simulations, simulation):
    """Sequential Halving's schedule (Karnin et al. 2013; Danihelka et al. 2022, figure 1).

    Returns how often the candidate to visit in this `simulation` of `num_simulations` was visited
    before, when `num_considered` (at most the static `num_candidates`) take part. All three may be
    traced.
    """
    halvings = jnp.array(
        [max(1, math.ceil(math.log2(max(m, 1)))) for m in range(num_candidates + 1)]
    )
    considered = jnp.maximum(num_considered, 2)
    visit = begin = visited = jnp.int32(0)
    # The last phase, with two candidates left, goes on until the budget ends.
    for _ in range(max(1, math.ceil(math.log2(num_candidates)))):
        visit = jnp.where(simulation >= begin, visited + (simulation - begin) // considered, visit)
        rounds = jnp.maximum(1, num_simulations // (halvings[num_considered] * considered))
        begin, visited = begin + rounds * considered, visited + rounds
        considered = jnp.maximum(2, considered // 2)
    visit = jnp.where(simulation >= begin, visited + (simulation - begin) // considered, visit)
    return jnp.where(num_considered <= 1, simulation, visit)


def gumbel_root(config: SearchConfig, key, tree, node):
    """Sequential Halving with Gumbel at the root: argmax g + logits + σ(q) among those to be
    visited now.

    Where every candidate with the scheduled number of visits is closed, the open one nearest to it
    is taken. Where each step is committed to, the root has the first of `max_steps` equal parts of
    the simulations.
    """
    moves = config.max_steps if config.commit == "step" else 1
    visits = tree.children_visits[node]
    num_considered = jnp.sum(tree.embeddings.open[node])
    scheduled = considered_visit(
        visits.shape[0], num_considered, tree.extra_data.planned // moves, jnp.sum(visits)
    )
    logits = tree.children_prior_logits[node]
    score = (
        tree.extra_data.root_gumbel
        + (logits - jnp.max(logits))
        + sigma(completed_qvalues(tree, node), visits, config)
        - OFF_SCHEDULE * jnp.abs(visits - scheduled)
    )
    return _best_open(tree, node, score)


def gumbel_interior(config: SearchConfig, key, tree, node, depth):
    """Visits in proportion to the improved policy: argmax π'(a) − N(a) / (1 + Σ N) (Danihelka et
    al. 2022, section 5).
    """
    visits = tree.children_visits[node]
    logits = jnp.where(tree.extra_data.open[node], tree.children_prior_logits[node], CLOSED)
    policy = improved_policy(logits, completed_qvalues(tree, node), visits, config)
    return _best_open(tree, node, policy - visits / (1 + jnp.sum(visits)))


def puct(config: SearchConfig, key, tree, node, depth=0):
    """argmax q + c(N) · prior · √N / (1 + n) (MuZero, Schrittwieser et al. 2020, equation 2); q is
    not rescaled.
    """
    visits, total = tree.children_visits[node], tree.node_visits[node]
    c = config.pb_c_init + jnp.log((total + config.pb_c_base + 1) / config.pb_c_base)
    prior = jax.nn.softmax(tree.children_prior_logits[node])
    score = completed_qvalues(tree, node) + c * prior * jnp.sqrt(total) / (1 + visits)
    return _best_open(tree, node, score)


def _best_open(tree, node, score):
    return jnp.argmax(jnp.where(tree.extra_data.open[node], score, CLOSED)).astype(jnp.int32)


# The rules for the root and below it, by `search.policy`.
RULES = {"gumbel": (gumbel_root, gumbel_interior), "puct": (puct, puct)}
