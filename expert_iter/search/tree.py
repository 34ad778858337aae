"""What a search leaves behind: a batch of trees of steps, the same for every expert.

A tree has N nodes (prefixes that were continued; node 0 is the prompt), each with K candidate
steps. A candidate that was continued in turn is itself a node. Guess-and-check is the tree with one
node whose candidates are whole solutions; a rollout is a candidate of its node that is never
continued.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax

from expert_iter.search.bill import Bill

# (problem_B, prefix_BxDxL, step_BxKxL, finished_BxK) -> verdict_BxK: which of the finished texts
# are right.
Judge = Callable[[jax.Array, jax.Array, jax.Array, jax.Array], jax.Array]


class SearchTree(NamedTuple):
    """Arrays of B trees; shapes `[B, N]` for nodes, `[B, N, K]` for their candidates.

    live: the node exists; parent, action: which candidate of which node it continues (−1 at the
    root). token `[B, N, K, L]`, length: the candidate's text, end mark included. valid: the
    candidate exists and is no duplicate; count: how often it was drawn. prior_logit: the search's
    prior (−1e9 for rollouts); log_pi, log_beta: of the step alone; path_log_pi `[B, N]`: of the
    node's prefix. token_value `[B, N, K, L]`: the value head's estimate after each token;
    model_value: at the candidate's end. value: what the search took it
    for: the same, or the verdict where the text is finished and was judged. finished: its text is
    complete; won: it was judged, and right (all false where the search had no judge). child: the
    node that continues it, or −1; visits, q: the search's statistics (q is the value where
    unvisited). answerable: may be read out as the answer, if finished (a search that commits to a
    step leaves the others behind). bill: what the search of each row cost.
    """

    live: jax.Array
    parent: jax.Array
    action: jax.Array
    token: jax.Array
    length: jax.Array
    valid: jax.Array
    count: jax.Array
    prior_logit: jax.Array
    log_pi: jax.Array
    log_beta: jax.Array
    path_log_pi: jax.Array
    token_value: jax.Array
    model_value: jax.Array
    value: jax.Array
    finished: jax.Array
    won: jax.Array
    child: jax.Array
    visits: jax.Array
    q: jax.Array
    answerable: jax.Array
    bill: Bill
