"""Answers read out of a tree written by hand."""

import math

import numpy as np
import pytest

from expert_iter.search import readout
from expert_iter.search.bill import Bill
from expert_iter.search.readout import Solution
from expert_iter.search.tree import SearchTree


@pytest.fixture
def tree():
    """Row 0 is empty. In row 1 "4 3" leads from the root to node 1, "6 3" from there to node 2.

    Finished are candidate 1 of the root, 0 of node 1 (candidate 1 repeats it), and 2 of node 2.
    """
    B, N, K, L = 2, 3, 3, 3
    zeros = lambda *shape: np.zeros(shape)  # noqa: E731
    tree = SearchTree(
        live=np.array([[True, False, False], [True] * 3]),
        parent=np.array([[-1] * 3, [-1, 0, 1]]),
        action=np.array([[-1] * 3, [-1, 0, 2]]),
        token=np.zeros((B, N, K, L), int),
        length=np.full((B, N, K), 2),
        valid=np.ones((B, N, K), bool),
        count=np.ones((B, N, K), int),
        prior_logit=zeros(B, N, K),
        log_pi=zeros(B, N, K),
        log_beta=zeros(B, N, K),
        path_log_pi=zeros(B, N),
        model_value=zeros(B, N, K),
        value=zeros(B, N, K),
        finished=np.zeros((B, N, K), bool),
        won=np.zeros((B, N, K), bool),
        child=np.full((B, N, K), -1),
        visits=np.zeros((B, N, K), int),
        q=zeros(B, N, K),
        bill=Bill(*zeros(4, B)),
    )
    one = SearchTree(*(x if isinstance(x, Bill) else x[1] for x in tree))
    one.token[0] = [[4, 3, 0], [5, 2, 0], [7, 3, 0]]
    one.token[1] = [[5, 2, 0], [5, 2, 0], [6, 3, 0]]
    one.token[2] = [[4, 3, 0], [4, 3, 0], [8, 9, 2]]
    one.length[2, 2] = 3
    one.finished[[0, 1, 1, 2], [1, 0, 1, 2]] = True
    one.valid[1, 1], one.count[1] = False, [2, 0, 1]
    one.model_value[[0, 1, 1, 2], [1, 0, 1, 2]] = 0.5, 0.9, 0.9, 0.8
    one.log_pi[[0, 1, 2], [1, 0, 2]] = -1.0, -2.0, -0.5
    one.path_log_pi[:] = 0, -3.0, -3.25
    one.child[0, 0], one.child[1, 2] = 1, 2
    return tree


def test_paths_lead_from_the_root(tree):
    assert [readout.path(tree, 1, n) for n in range(3)] == [[], [(0, 0)], [(0, 0), (1, 2)]]
    assert readout.step_tokens(tree, 1, 2, 2) == [8, 9, 2]


def test_solutions_are_the_finished_texts_without_their_end(tree):
    found = readout.solutions(tree, 1)
    assert found == [
        Solution(0, 1, [5], 0.5, -1.0, 1),
        Solution(1, 0, [4, 3, 5], pytest.approx(0.9), -5.0, 2),
        Solution(2, 2, [4, 3, 6, 3, 8, 9], pytest.approx(0.8), -3.75, 1),
    ]
    assert readout.solutions(tree, 0) == []


@pytest.mark.parametrize(("prior_weight", "expected"), [(0.0, 1), (0.1, 2), (1.0, 0)])
def test_the_best_weighs_value_against_likelihood(tree, prior_weight, expected):
    found = readout.solutions(tree, 1)
    scores = [math.log(s.value) + prior_weight * s.log_pi for s in found]
    assert np.argmax(scores) == expected
    assert readout.best(found, prior_weight) == found[expected]
    assert found[2].score(prior_weight) == pytest.approx(scores[2])


def test_nothing_found_is_no_answer():
    assert readout.best([], 0.1) is None
    assert readout.vote([], []) is None
    assert readout.vote([None, None], [1.0, 1.0]) is None


def test_a_worthless_solution_is_still_one():
    assert math.isfinite(Solution(0, 0, [], 0.0, -1.0, 1).score(0.1))


@pytest.mark.parametrize(
    ("proposals", "weights", "winner"),
    [
        (["a", "b", "b"], [1, 1, 1], 1),
        (["a", "b", "b"], [3, 1, 1], 0),
        (["a", "b", "a", "b"], [1, 1, 1, 1], 0),
        (["b", "a", "a", "b"], [0.5, 1, 1, 1.5], 0),
        ([None, "a", None, None], [9, 0.1, 9, 9], 1),
        (["a", "b"], [0.0, 0.0], 0),
    ],
)
def test_votes(proposals, weights, winner):
    """The first of the winning proposals; of equals the one that came first; None has no vote."""
    assert readout.vote(proposals, weights) == winner
