import numpy as np

from expert_iter.learn.objectives.improved_policy import ImprovedConfig, improved_weights
from expert_iter.learn.solved import qualifying, won_below
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
    return improved_weights(tree, ImprovedConfig(**SCALE | config))[0]


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


def test_weights_sum_to_one_at_nodes_that_teach_and_are_zero_elsewhere():
    tree = small()
    for nodes, min_visits in (("won", 1), ("all", 2)):
        teach = qualifying(tree, won_below(tree), nodes, min_visits)[0]
        assert 0 < teach.sum() < 3
        found = weights(tree, nodes=nodes, min_visits=min_visits)
        np.testing.assert_allclose(found.sum(-1), teach, rtol=1e-6)


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
