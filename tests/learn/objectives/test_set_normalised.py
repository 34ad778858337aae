import jax
import jax.numpy as jnp
import numpy as np

from expert_iter.learn.packing import Packer
from tests.learn.objectives.candidates import outputs
from tests.learn.search_trees import (
    SCALE,
    A,
    B,
    C,
    D,
    E,
    F,
    G,
    H,
    assert_columns,
    lesson,
    lost,
    small,
)
from tests.learn.trees import COLUMNS
from tests.objectives import objectives

# Weights, and corrections: prior − log π.
BY_HAND = {
    (): (0, 0),
    (A,): (4 / 9, 1.0),
    (B,): (4 / 9, np.log(2) + 2),
    (C,): (1 / 9, 3.0),
    (A, D): (1 / 2, 0.5),
    (A, E): (1 / 4, 1.5),
    (A, F): (1 / 4, np.log(0.5) + 2.5),
    (B, G): (1 / 4, 1.0),
    (B, H): (3 / 4, np.log(3) + 4),
}


def columns(facts):
    return {
        path: {
            "set_normalised.weight": weight,
            "set_normalised.correction": correction,
            "set_normalised.in_set": path != (),
        }
        for path, (weight, correction) in facts.items()
    }


def test_all_candidates_of_a_node_that_teaches_are_its_set():
    made = lesson(small(), "set_normalised", set_normalised=dict(nodes="all", **SCALE))
    assert_columns(made, columns(BY_HAND))


def test_siblings_of_a_winner_are_kept():
    made = lesson(small(), "set_normalised", set_normalised=dict(towards="winners"))
    weights = {(A,): 1, (A, D): 1}
    expected = {
        path: (weights.get(path, 0), correction)
        for path, (_, correction) in BY_HAND.items()
        if path[:1] != (B,) or path == (B,)
    }
    assert_columns(made, columns(expected))


def test_where_nothing_wins_there_is_no_set():
    assert_columns(lesson(lost(), "set_normalised"), {(): {}})


def test_gradient_on_log_pi_in_closed_form(random_tree):
    """Σw · softmax − w among the set, and −w where a step is in none."""
    rng = np.random.default_rng(3)
    batch, _ = Packer(3, 40, 16, COLUMNS).pack(random_tree(rng, steps=n) for n in (7, 1, 6, 5, 2))
    log_pi = rng.normal(-3, 2, batch.parent_RxG.shape).astype(np.float32)
    objective = objectives("set_normalised")["set_normalised"]
    found = jax.grad(lambda x: objective.loss(outputs(x), batch)[0])(jnp.asarray(log_pi))
    weight, correction, in_set = (
        batch.columns[f"set_normalised.{name}"] for name in ("weight", "correction", "in_set")
    )
    expected = -weight.astype(np.float64)
    for row, parents in enumerate(batch.parent_RxG):
        for parent in set(parents[parents >= 0].tolist()):
            among = np.flatnonzero((parents == parent) & in_set[row])
            share = np.exp(log_pi[row, among] + correction[row, among])
            expected[row, among] += weight[row, among].sum() * share / share.sum()
    assert (weight * ~in_set).any() and (weight * in_set).any()
    np.testing.assert_allclose(found, expected, atol=1e-6)
