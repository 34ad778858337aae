import numpy as np
import pytest

from expert_iter.learn.objectives.improved_policy import ImprovedConfig, improved_weights
from expert_iter.learn.solved import won_below
from tests.learn.search_trees import (
    SCALE,
    A,
    B,
    D,
    E,
    F,
    assert_columns,
    by_path,
    lesson,
    redrawn,
    small,
)


def weights(tree, **config):
    return improved_weights(tree, won_below(tree), ImprovedConfig(**SCALE | config))[0]


def test_improved_policy_by_hand():
    expected = [
        # a is solved below, so it is worth 1 whatever its q: 1·4, 2·4^½, 1·4^0.
        np.array([4, 4, 1]) / 9,
        # 1·2, 1·1, ½·2.
        np.array([2, 1, 1]) / 4,
        # The duplicate gets nothing: 1, -, 3.
        np.array([1, 0, 3]) / 4,
    ]
    np.testing.assert_allclose(weights(small(), nodes="all"), expected, rtol=1e-6)


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
def test_weights_of_a_node_that_teaches_sum_to_one(nodes, min_visits, teach):
    found = weights(small(), nodes=nodes, min_visits=min_visits)
    np.testing.assert_allclose(found.sum(-1), teach, rtol=1e-6)
    dead = small()._replace(live=np.array([[True, True, False]]))
    assert not weights(dead, nodes=nodes, min_visits=min_visits)[2].any()


def test_negligible_weights_are_dropped():
    tree = small()
    sure = redrawn(tree, prior_logit=tree.candidates.prior_logit + 5.0 * tree.won)
    found = by_path(lesson(sure, "improved", improved=dict(nodes="all", **SCALE)))
    # 2·e^5 against 1 and 1: e and f are below a hundredth.
    share = 2 * np.exp(5) / (2 * np.exp(5) + 2)
    np.testing.assert_allclose(found[(A, D)]["improved.weight"], share, rtol=1e-5)
    assert (A, E) not in found and (A, F) not in found


def test_only_what_has_a_weight_is_kept():
    found = lesson(small(), "improved", improved=dict(nodes="root", **SCALE))
    share = {(A,): 4 / 9, (B,): 4 / 9, (6,): 1 / 9}
    expected = {path: {"improved.weight": x} for path, x in share.items()}
    assert_columns(found, expected | {(): {}})
