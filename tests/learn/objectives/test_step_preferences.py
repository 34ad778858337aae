"""Pairs of siblings against pairs that are written out one by one."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from expert_iter.learn.packing import Packer
from expert_iter.learn.solved import won_below
from tests.learn.objectives.candidates import outputs, random_batch
from tests.learn.search_trees import (
    A,
    B,
    C,
    D,
    E,
    F,
    assert_columns,
    by_path,
    guesses,
    lesson,
    redrawn,
    small,
)
from tests.learn.trees import COLUMNS, paths
from tests.objectives import objectives

NAMES = "q", "reference", "compared"


def preferences(**config):
    return objectives("step_preferences", step_preferences=config)["step_preferences"]


def values(rng, count):
    """Of so many candidates. Eighths, so that differences are exact in float32."""
    return {
        "step_preferences.q": rng.integers(0, 9, count) / 8,
        "step_preferences.reference": rng.normal(-3, 2, count).astype(np.float32),
        "step_preferences.compared": rng.random(count) < 0.9,
    }


def pairs(node, margin):
    """Of a random node: those of its candidates' numbers of which the first one is better."""
    q, _, compared = (node.values[f"step_preferences.{name}"] for name in NAMES)
    there = [k for k, path in enumerate(node.steps) if len(path) == 1 and compared[k]]
    return [(a, b) for a, b in itertools.permutations(there, 2) if q[a] - q[b] >= margin]


@pytest.mark.parametrize("seed", range(3))
def test_loss_and_gradient_on_log_pi_in_closed_form(seed):
    """Of a node's n pairs each adds −log σ(β gap) / n, and β σ(−β gap) / n to its steps' slopes."""
    margin, beta = 0.25, 0.3
    batch, nodes = random_batch(seed, values)
    rng = np.random.default_rng(seed)
    log_pi = rng.normal(-3, 2, batch.parent_RxG.shape).astype(np.float32)
    expected, slope = 0.0, np.zeros(log_pi.shape)
    agreed = weight = 0.0
    for node in nodes:
        found = pairs(node, margin)
        reference = node.values["step_preferences.reference"].astype(np.float64)
        for better, worse in found:
            a, b = node.steps[better][0], node.steps[worse][0]
            moved = log_pi[node.row, [a, b]].astype(np.float64) - reference[[better, worse]]
            gap = beta * (moved[0] - moved[1])
            expected += np.log1p(np.exp(-gap)) / len(found)
            pull = beta / (1 + np.exp(gap)) / len(found)
            slope[node.row, a] -= pull
            slope[node.row, b] += pull
            agreed += (gap > 0) / len(found)
        weight += bool(found)
    objective = preferences(margin=margin, beta=beta)
    loss = lambda x: objective.loss(outputs(x), batch)  # noqa: E731
    (total, figures), gradient = jax.value_and_grad(loss, has_aux=True)(jnp.asarray(log_pi))
    assert weight > 5 and any(len(pairs(node, margin)) > 2 for node in nodes)
    np.testing.assert_allclose(total, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, slope, atol=1e-6)
    np.testing.assert_allclose(figures["preference_loss"], (expected, weight), rtol=1e-5)
    np.testing.assert_allclose(figures["preferred"], (agreed, weight), rtol=1e-5)


def columns(q, reference):
    names = [f"step_preferences.{name}" for name in NAMES]
    return dict(zip(names, (q, reference, True), strict=True))


def test_candidates_that_are_in_a_pair_are_kept_with_what_the_search_knew():
    tree = lesson(small(), "step_preferences", step_preferences=dict(margin=0.6))
    # a is solved below, so it is worth 1; b is 0.5 from either of its siblings.
    expected = {(A,): columns(1, -1.0), (C,): columns(0, -3.0)}
    expected |= {(A, D): columns(1, -0.5), (A, E): columns(0, -1.5), (A, F): columns(1, -2.5)}
    assert_columns(tree, expected | {(): {}})
    closer = by_path(lesson(small(), "step_preferences", step_preferences=dict(margin=0.5)))
    assert closer[(B,)] == columns(0.5, -2.0)


def test_a_candidate_that_does_not_exist_is_in_no_pair():
    tree = small()
    valid, q = tree.candidates.valid.copy(), tree.q.copy()
    valid[0, 0, 2] = False
    q[0, 2, 1] = 1.0
    # Without node 1 nothing is won, and a and b are 0.25 apart; of node 2 a duplicate is worth 1.
    dead = redrawn(tree, valid=valid)._replace(live=np.array([[True, False, True]]), q=q)
    assert_columns(lesson(dead, "step_preferences"), {(): {}})


@pytest.mark.parametrize("margin", [0.2, 0.5, 0.6])
def test_lessons_and_loss_are_all_pairs_of_the_searched_tree(margin):
    """Of its nodes' candidates with their letters, without step trees."""
    tree, beta = small(), 0.7
    drawn = tree.candidates
    made = lesson(tree, "step_preferences", step_preferences=dict(margin=margin))
    batch, _ = Packer(1, 64, 16, COLUMNS).pack([made])
    log_pi = np.random.default_rng(0).normal(-3, 1, batch.parent_RxG.shape).astype(np.float32)
    place = {path[-1][0]: g for g, path in enumerate(paths(made))}
    q, expected = np.where(won_below(tree), 1.0, tree.q)[0], 0.0
    for node in range(3):
        exist = np.flatnonzero(drawn.valid[0, node])
        better = [
            (a, b) for a, b in itertools.permutations(exist, 2) if q[node, a] - q[node, b] >= margin
        ]
        for a, b in better:
            moved = [
                log_pi[0, place[drawn.token[0, node, k, 0]]] - drawn.log_pi[0, node, k]
                for k in (a, b)
            ]
            expected += np.log1p(np.exp(-beta * (moved[0] - moved[1]))) / len(better)
    total, _ = preferences(margin=margin, beta=beta).loss(outputs(jnp.asarray(log_pi)), batch)
    assert expected > 0
    np.testing.assert_allclose(total, expected, rtol=1e-5)


def test_guesses_of_several_lines_are_in_no_pair():
    tree = lesson(guesses(), "step_preferences")
    compared = tree.columns["step_preferences.compared"]
    assert [path[1:] for path, x in zip(paths(tree), compared, strict=True) if x] == [((C, 2),)]


def test_at_the_reference_nothing_is_preferred_yet():
    batch, nodes = random_batch(0, values)
    log_pi = jnp.asarray(batch.columns["step_preferences.reference"])
    total, figures = preferences(margin=0.25).loss(outputs(log_pi), batch)
    weight = sum(bool(pairs(node, 0.25)) for node in nodes)
    np.testing.assert_allclose(total, weight * np.log(2), rtol=1e-6)
    assert figures["preferred"] == (0, weight)
