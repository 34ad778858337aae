"""Reads answers out of search trees: which finished solution to give. Works on host arrays, for
every expert alike.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from expert_iter.model.step_ends import StepEnds
from expert_iter.search.tree import SearchTree


class Solution(NamedTuple):
    """A finished solution in a tree: candidate k of node n.

    tokens: without an end mark; value: the value head's at its end; step_values: at the end of
    each of its steps, the last one included; step_lengths: tokens of each, an end mark included;
    log_pi: of the whole solution; draws: how often it was drawn.
    """

    node: int
    candidate: int
    tokens: list[int]
    value: float
    step_values: tuple[float, ...]
    step_lengths: tuple[int, ...]
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
    c = tree.candidates
    return c.token[b, node, k, : c.length[b, node, k]].tolist()


def step_observed(tree: SearchTree, b: int, node: int, k: int) -> list[bool] | None:
    """Which of the `step_tokens` a world wrote; None where there is no world."""
    c = tree.candidates
    return None if c.observed is None else c.observed[b, node, k, : c.length[b, node, k]].tolist()


def step_lengths(tree: SearchTree, b: int, node: int, k: int, steps: StepEnds) -> list[int]:
    """Tokens of each step of a candidate (of all of it, where it is one step)."""
    written = steps.split(step_tokens(tree, b, node, k), step_observed(tree, b, node, k))
    return [len(step) for step in written]


def step_values(tree: SearchTree, b: int, node: int, k: int, steps: StepEnds) -> list[float]:
    """The value head's estimates at the ends of these steps."""
    ends = np.cumsum(step_lengths(tree, b, node, k, steps), dtype=int) - 1
    return tree.candidates.token_value[b, node, k, ends].tolist()


def solutions(tree: SearchTree, b: int, steps: StepEnds) -> list[Solution]:
    """All distinct finished solutions of row b that may be its answer, in the order of nodes and
    candidates.
    """
    c, found, seen = tree.candidates, [], set()
    may_answer = c.finished[b] & c.valid[b] & tree.answerable[b]
    for node, k in zip(*np.nonzero(may_answer), strict=True):
        node, k = int(node), int(k)
        way = [*path(tree, b, node), (node, k)]
        tokens = [t for at in way for t in step_tokens(tree, b, *at)]
        if tokens[-1] in steps.ids.ends:
            tokens.pop()
        if tuple(tokens) in seen:  # a rollout may write what another candidate or rollout did
            continue
        seen.add(tuple(tokens))
        found.append(
            Solution(
                node=node,
                candidate=k,
                tokens=tokens,
                value=float(c.model_value[b, node, k]),
                step_values=tuple(
                    value for at in way for value in step_values(tree, b, *at, steps)
                ),
                step_lengths=tuple(
                    length for at in way for length in step_lengths(tree, b, *at, steps)
                ),
                log_pi=float(tree.path_log_pi[b, node] + c.log_pi[b, node, k]),
                draws=int(c.count[b, node, k]),
            )
        )
    return found


# How good a solution looks, by the value head alone (as an outcome reward model: `value`; as a
# process reward model over its steps: `min`, `product`, `mean`), or with its likelihood (`best`).
SCORES: dict[str, Callable[[Solution, float], float]] = {
    "best": lambda s, prior_weight: s.score(prior_weight),
    "value": lambda s, _: s.value,
    "min": lambda s, _: min(s.step_values),
    "product": lambda s, _: math.prod(s.step_values),
    "mean": lambda s, _: sum(s.step_values) / len(s.step_values),
}
# What a solution adds to its answer's share: majority is self-consistency (Wang et al. 2022); draws
# without replacement say nothing by their number, so there likelihood takes its place.
VOTES: dict[str, Callable[[Solution], float]] = {
    "majority": lambda s: s.draws,
    "value_vote": lambda s: s.draws * s.value,
    "likelihood_vote": lambda s: math.exp(s.log_pi),
}
READOUTS = (*SCORES, *VOTES)


def choose(
    found: Sequence[Solution],
    readout: str,
    prior_weight: float,
    propose: Callable[[Solution], str | None],
) -> Solution | None:
    """The answer among the solutions found, by one of `READOUTS`; None where there is none.

    propose: what a solution answers, by which votes are counted (None: it cannot be read).
    """
    if readout in SCORES:
        return max(found, key=lambda s: SCORES[readout](s, prior_weight), default=None)
    index = vote([propose(s) for s in found], [VOTES[readout](s) for s in found])
    return None if index is None else found[index]


def best(found: Sequence[Solution], prior_weight: float) -> Solution | None:
    """By log v + λ · log π."""
    return choose(found, "best", prior_weight, lambda _: None)


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
