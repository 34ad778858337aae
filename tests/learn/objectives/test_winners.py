import numpy as np
import pytest

from expert_iter.learn.objectives.improved_policy import ImprovedConfig
from expert_iter.learn.objectives.winners import winner_weights
from tests.learn.search_trees import A, B, D, E, assert_columns, by_path, guesses, lesson, small


def weights(tree, nodes="won", min_visits=1):
    return winner_weights(tree, ImprovedConfig(nodes=nodes, min_visits=min_visits))[0]


def test_winners_share_a_nodes_weight():
    more = small()._replace(won=np.array([[[0, 0, 0], [1, 0, 0], [1, 0, 0]]], bool))
    np.testing.assert_allclose(weights(more), [[0.5, 0.5, 0], [1, 0, 0], [1, 0, 0]])
    np.testing.assert_allclose(weights(more, "root"), [[0.5, 0.5, 0], [0, 0, 0], [0, 0, 0]])
    np.testing.assert_allclose(weights(more, min_visits=2), [[0.5, 0.5, 0], [0] * 3, [0] * 3])


@pytest.mark.parametrize("nodes", ["root", "won", "all"])
def test_a_node_without_a_winner_has_nothing_to_teach_even_where_it_is_asked_for(nodes):
    tree = small()
    assert not weights(tree._replace(won=np.zeros_like(tree.won)), nodes).any()


def test_what_two_winning_guesses_share_is_learned_from_both():
    both = guesses()._replace(won=np.array([[[1, 1, 0, 0, 0, 0]]], bool))
    found = by_path(lesson(both, "winners", "value", value=dict(max_lost=0)))
    learned = {path: x["winners.weight"] for path, x in found.items() if "winners.weight" in x}
    assert learned == {(A,): 1.0, (A, D): 0.5, (A, E): 0.5}


def test_guesses_that_lose_take_no_room():
    share = {"winners.weight": 0.5}
    expected = {(A,): share, (A, D): share, (B,): share, (B, D): share, (): {}}
    assert_columns(lesson(guesses(), "winners"), expected)
