import jax
import jax.numpy as jnp
import numpy as np
import pytest

from expert_iter.learn.objectives.objective import Outputs
from expert_iter.learn.packing import Packer
from tests.learn.search_trees import (
    EOS,
    A,
    B,
    C,
    D,
    E,
    F,
    G,
    H,
    by_path,
    lesson,
    search_tree,
    small,
)
from tests.learn.trees import COLUMNS
from tests.objectives import objectives


def labels(tree, seed=0, **config):
    """The value that each step is to have; None where it has no label."""
    found = by_path(lesson(tree, "winners", "value", seed=seed, value=config))
    assert {columns.get("value.weight", 1.0) for columns in found.values()} == {1.0}
    return {
        path: columns.get("value.target", 0.0) if "value.weight" in columns else None
        for path, columns in found.items()
    }


def test_what_was_found_below_is_the_label():
    assert labels(small(), max_lost=99) == {
        (): 1,
        (A,): 1,
        (B,): 0,
        (C,): 0,
        (A, D): 1,
        (A, E): 0,
        (B, G): 0,  # and not its duplicate, nor f and h, of which nothing is known
    }


def test_value_targets_are_mixed_with_the_searchs_own_estimate():
    found = labels(small(), max_lost=99, mix=0.2)
    np.testing.assert_allclose(found[(A,)], 0.8 * 1 + 0.2 * 0.25, rtol=1e-6)
    np.testing.assert_allclose(found[(B,)], 0.8 * 0 + 0.2 * 0.5, rtol=1e-6)
    # What is finished has its verdict: nothing is estimated there.
    assert found[(C,)] == found[(A, E)] == found[(B, G)] == 0 and found[(A, D)] == 1
    assert (A, F) not in found and (B, H) not in found


def many_lost(lost=8, won=2):
    tokens = [[[A + k, EOS] for k in range(won + lost)]]
    return search_tree(
        dict(
            token=tokens,
            finished=np.ones((1, won + lost), bool),
            won=[[True] * won + [False] * lost],
        )
    )


@pytest.mark.parametrize("max_lost", [0, 3, 8, 20])
def test_lost_solutions_that_teach_the_value_are_drawn_evenly(max_lost):
    drawn = np.zeros(8)
    for seed in range(200):
        found = labels(many_lost(), seed=seed, max_lost=max_lost)
        found = [found.get((A + k,)) for k in range(10)]
        assert found[:2] == [1, 1], "right solutions always teach it"
        assert set(found[2:]) <= {0, None}
        drawn += [label == 0 for label in found[2:]]
        assert sum(label == 0 for label in found[2:]) == min(max_lost, 8)
    # Binomial: four standard deviations around each one's share of the draws.
    share = min(max_lost, 8) / 8
    assert np.abs(drawn - 200 * share).max() <= 4 * np.sqrt(200 * share * (1 - share))


def test_gradient_on_log_odds_in_closed_form(random_tree):
    """w (σ(logit) − target)."""
    rng = np.random.default_rng(3)
    batch, _ = Packer(3, 40, 16, COLUMNS).pack(random_tree(rng, steps=n) for n in (7, 1, 6, 5, 2))
    logit = rng.normal(size=batch.parent_RxG.shape).astype(np.float32)
    value = objectives("value")["value"]
    loss = lambda logit: value.loss(Outputs(None, {"value": logit}), batch)[0]  # noqa: E731
    weight, target = batch.columns["value.weight"], batch.columns["value.target"]
    expected = weight * (1 / (1 + np.exp(-logit)) - target)
    assert (weight > 0).sum() > 10
    np.testing.assert_allclose(jax.grad(loss)(jnp.asarray(logit)), expected, atol=1e-6)
