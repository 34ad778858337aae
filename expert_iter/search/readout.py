"""Reads answers out of search trees: which finished solution to give. Works on host arrays, for
every expert alike.
"""

from collections import defaultdict
from typing import NamedTuple

import numpy as np

from expert_iter.search.tree import SearchTree


class Solution(NamedTuple):
    """A finished solution in a tree: candidate k of node n.

    tokens: without the end mark; value: the value head's at its end; log_pi: of the whole solution;
    draws: how often it was drawn; order: its place among the draws.
    """

    node: int
    candidate: int
    tokens: list[int]
    value: float
    log_pi: float
    draws: int

    def score(self, prior_weight: float) -> float:
        """log v + λ · log π: value heads have false positives, most among unlikely texts."""
        return float(np.log(max(self.value, 1e-9))) + prior_weight * self.log_pi


def path(tree: SearchTree, b: int, node: int) -> list[tuple[int, int]]:
    """(node, candidate) pairs from the root to `node`."""
    steps = []
    while node > 0:
        node, k = int(tree.parent[b, node]), int(tree.action[b, node])
        steps.append((node, k))
    return steps[::-1]


def step_tokens(tree: SearchTree, b: int, node: int, k: int) -> list[int]:
    return tree.token[b, node, k, : tree.length[b, node, k]].tolist()


def solutions(tree: SearchTree, b: int) -> list[Solution]:
    """All distinct finished solutions of row b, in the order of nodes and candidates."""
    found = []
    for node, k in zip(*np.nonzero(tree.finished[b] & tree.valid[b]), strict=True):
        node, k = int(node), int(k)
        tokens = [t for at in path(tree, b, node) for t in step_tokens(tree, b, *at)]
        tokens += step_tokens(tree, b, node, k)[:-1]
        log_pi = float(tree.path_log_pi[b, node] + tree.log_pi[b, node, k])
        found.append(
            Solution(
                node,
                k,
                tokens,
                float(tree.model_value[b, node, k]),
                log_pi,
                int(tree.count[b, node, k]),
            )
        )
    return found


def best(found: list[Solution], prior_weight: float) -> Solution | None:
    return max(found, key=lambda s: s.score(prior_weight), default=None)


def vote(proposals: list[str | None], weights: list[float]) -> int | None:
    """Index of a representative of the proposal with the largest total weight; None where nothing
    can be read.

    Ties go to the proposal that came first.
    """
    total, first = defaultdict(float), {}
    for i, (proposal, weight) in enumerate(zip(proposals, weights, strict=True)):
        if proposal is not None:
            total[proposal] += weight
            first.setdefault(proposal, i)
    return first[max(total, key=total.get)] if total else None
