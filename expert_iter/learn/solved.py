"""What a batch of searched trees solved: candidates that lead to a solution, nodes that teach."""

import numpy as np

from expert_iter.search.tree import SearchTree

# Policy weights below this are dropped: a step costs its tokens, whatever its weight.
NEGLIGIBLE = 1e-2


def won_below(tree: SearchTree) -> np.ndarray:
    """[B, N, K] bool. The candidate is, or leads to, a verified solution that the search found."""
    return leading_to(tree, tree.won)


def leading_to(tree: SearchTree, chosen: np.ndarray) -> np.ndarray:
    """[B, N, K] bool. The candidate is, or leads to, a chosen one of a node that exists."""
    leads = np.array(chosen)
    rows = np.arange(leads.shape[0])
    for node in range(leads.shape[1] - 1, 0, -1):  # a parent's number is below its children's
        there = tree.live[:, node] & leads[:, node].any(axis=-1)
        b = rows[there]
        leads[b, tree.parent[b, node], tree.action[b, node]] = True
    return leads


def shares(weight: np.ndarray, qualifies: np.ndarray) -> np.ndarray:
    """[B, N, K] float. Weights of each node made to sum to one, or to zero where it does not
    qualify ([B, N] bool); what is negligible is dropped.
    """
    weight = weight / np.maximum(weight.sum(axis=-1, keepdims=True), 1e-30)
    weight = weight * qualifies[..., None]
    return np.where(weight > NEGLIGIBLE, weight, 0.0)


def qualifying(tree: SearchTree, won: np.ndarray, nodes: str, min_visits: int) -> np.ndarray:
    """[B, N] bool. Nodes that teach the policy.

    Args:
      won: [B, N, K] bool, as of `won_below`.
      nodes: 'root', 'won' (a solution was found below) or 'all'.
      min_visits: of those, nodes visited at least so often.
    """
    visits = 1 + tree.visits.sum(axis=-1)
    qualifies = tree.live & (visits >= min_visits)
    if nodes == "won":
        qualifies &= won.any(axis=-1)
    if nodes == "root":
        qualifies &= np.arange(qualifies.shape[1]) == 0
    return qualifies
