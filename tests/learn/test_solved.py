import numpy as np
import pytest

from expert_iter.learn.solved import qualifying, shares, won_below
from tests.learn.search_trees import EOS, NEWLINE, A, B, search_tree, small


def test_won_below_follows_parents_up():
    tree = small()
    won = won_below(tree)
    assert won[0].tolist() == [[True, False, False], [True, False, False], [False] * 3]
    assert not tree.won[0, 0].any(), "the tree itself is left as it was"


def test_won_below_follows_a_long_way_up():
    """Each node continues the second candidate of the one before; the last one wins."""
    chain = search_tree(
        dict(
            token=[[[A, NEWLINE], [B, NEWLINE]]] * 3 + [[[A, EOS], [B, EOS]]],
            won=np.array([[0, 0], [0, 0], [0, 0], [1, 0]], bool),
        ),
        parent=[-1, 0, 1, 2],
        action=[-1, 1, 1, 1],
    )
    assert won_below(chain)[0].tolist() == [[False, True]] * 3 + [[True, False]]


def test_won_below_ignores_what_is_not_live():
    won = won_below(small()._replace(live=np.array([[True, False, True]])))
    assert not won[0, 0].any()


@pytest.mark.parametrize(
    ("nodes", "min_visits", "teach"),
    [
        ("all", 1, [1, 1, 1]),
        ("won", 1, [1, 1, 0]),
        ("root", 1, [1, 0, 0]),
        ("all", 2, [1, 0, 0]),  # a node's first visit is its expansion: 3, 1 and 1 visits
        ("all", 3, [1, 0, 0]),
        ("all", 4, [0, 0, 0]),
    ],
)
def test_which_nodes_teach(nodes, min_visits, teach):
    tree = small()
    assert qualifying(tree, won_below(tree), nodes, min_visits)[0].tolist() == teach
    dead = tree._replace(live=np.array([[True, True, False]]))
    assert qualifying(dead, won_below(dead), nodes, min_visits)[0].tolist() == [*teach[:2], 0]


def test_weights_of_a_node_become_shares_and_what_is_negligible_is_dropped():
    weight = np.array([[[2.0, 1.0, 1.0], [989.0, 10.1, 0.9], [0.0, 0.0, 0.0], [3.0, 0.0, 1.0]]])
    found = shares(weight, np.array([[True, True, True, False]]))
    np.testing.assert_allclose(found[0], [[0.5, 0.25, 0.25], [0.989, 0.0101, 0], [0] * 3, [0] * 3])
