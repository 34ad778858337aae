"""Answers read out of a tree written by hand."""

import math

import numpy as np
import pytest

from expert_iter.search import readout
from expert_iter.search.readout import Solution
from tests.steps import steps_at

NEWLINE = 3
STEPS = steps_at(NEWLINE)


def test_paths_lead_from_the_root(written_tree):
    assert [readout.path(written_tree, 1, n) for n in range(3)] == [[], [(0, 0)], [(0, 0), (1, 2)]]
    assert readout.step_tokens(written_tree, 1, 2, 2) == [8, 9, 2]


def test_solutions_are_the_finished_texts_without_their_end(written_tree):
    found = readout.solutions(written_tree, 1, STEPS)
    assert found == [
        Solution(0, 1, [5], 0.5, (0.5,), (2,), -1.0, 1),
        Solution(1, 0, [4, 3, 5], pytest.approx(0.9), (0.3, 0.9), (2, 2), -5.0, 2),
        Solution(
            2, 2, [4, 3, 6, 3, 8, 9], pytest.approx(0.8), (0.3, 0.6, 0.8), (2, 2, 3), -3.75, 1
        ),
    ]
    assert readout.solutions(written_tree, 0, STEPS) == []


def test_the_lines_of_a_candidate_are_its_steps(written_tree):
    """As in guess-and-check, and in rollouts."""
    written_tree.candidates.token[1, 2, 2] = [8, NEWLINE, 2]
    assert readout.solutions(written_tree, 1, STEPS)[2].step_values == (
        0.3,
        0.6,
        0.1,
        0.8,
    )


def test_what_a_search_left_behind_is_no_answer(written_tree):
    written_tree.answerable[1, 1] = False
    found = readout.solutions(written_tree, 1, STEPS)
    assert [(s.node, s.candidate) for s in found] == [(0, 1), (2, 2)]


def test_a_text_found_twice_is_one_solution(written_tree):
    """A rollout at the root that wrote what the search came to by steps."""
    written_tree.candidates.token[1, 0, 1] = [4, NEWLINE, 5]
    written_tree.candidates.token[1, 1, 0] = [5, 2, 0]
    drawn = written_tree.candidates
    longer = lambda x: np.pad(x, ((0, 0),) * 3 + ((0, 1),))  # noqa: E731
    drawn = drawn._replace(token=longer(drawn.token), token_value=longer(drawn.token_value))
    tree = written_tree._replace(candidates=drawn)
    tree.candidates.token[1, 0, 1, 3], tree.candidates.length[1, 0, 1] = 2, 4
    found = readout.solutions(tree, 1, STEPS)
    assert [(s.node, s.candidate) for s in found] == [(0, 1), (2, 2)]


@pytest.mark.parametrize(("prior_weight", "expected"), [(0.0, 1), (0.1, 2), (1.0, 0)])
def test_the_best_weighs_value_against_likelihood(written_tree, prior_weight, expected):
    found = readout.solutions(written_tree, 1, STEPS)
    scores = [math.log(s.value) + prior_weight * s.log_pi for s in found]
    assert np.argmax(scores) == expected
    assert readout.best(found, prior_weight) == found[expected]
    assert found[2].score(prior_weight) == pytest.approx(scores[2])


def test_nothing_found_is_no_answer():
    assert readout.best([], 0.1) is None
    assert readout.vote([], []) is None
    assert readout.vote([None, None], [1.0, 1.0]) is None


def test_a_worthless_solution_is_still_one():
    assert math.isfinite(Solution(0, 0, [], 0.0, (0.0,), (1,), -1.0, 1).score(0.1))


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
