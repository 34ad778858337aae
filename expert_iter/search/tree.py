"""What a search leaves behind: a batch of trees of steps, the same for every expert.

A tree has N nodes (prefixes that were continued; node 0 is the prompt), each with K candidate
steps. A candidate that was continued in turn is itself a node. Guess-and-check is the tree with one
node whose candidates are whole solutions; a rollout is a candidate of its node that is never
continued.
"""

from typing import NamedTuple

import jax

from expert_iter.search.bill import Bill
from expert_iter.search.candidates import Candidates


class SearchTree(NamedTuple):
    """B trees of N nodes with K candidates each.

    Attributes:
      live: [B, N] bool. The node exists.
      parent: [B, N] int32. The node that it continues; −1 at the root.
      action: [B, N] int32. Which candidate of its parent it continues; −1 at the root.
      path_log_pi: [B, N] float32. Log-probability of the steps that lead to the node.
      candidates: [B, N, K]. What was drawn at the node; rollouts have a prior of −1e9.
      value: [B, N, K] float32 in [0, 1]. What the search took the candidate for: the verdict where
        it is finished and was verified, else the estimate.
      won: [B, N, K] bool. It was verified, and is right; all false where nothing was verified.
      child: [B, N, K] int32. The node that continues it; −1 where there is none.
      visits: [B, N, K] int32. How many simulations went through it.
      q: [B, N, K] float32 in [0, 1]. What the search found it to be worth; its value where it was
        not visited.
      answerable: [B, N, K] bool. False for candidates that a committed search has abandoned.
      bill: [B]. What the search of each row cost.
    """

    live: jax.Array
    parent: jax.Array
    action: jax.Array
    path_log_pi: jax.Array
    candidates: Candidates
    value: jax.Array
    won: jax.Array
    child: jax.Array
    visits: jax.Array
    q: jax.Array
    answerable: jax.Array
    bill: Bill
