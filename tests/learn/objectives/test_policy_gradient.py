"""The clipped policy gradient, candidate by candidate."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from expert_iter.learn.packing import Packer
from tests.learn.objectives.candidates import outputs, random_batch
from tests.learn.search_trees import (
    PROMPT,
    A,
    B,
    C,
    D,
    E,
    F,
    assert_columns,
    both,
    by_path,
    guesses,
    lesson,
    redrawn,
    searched,
    small,
)
from tests.learn.trees import COLUMNS, paths
from tests.objectives import objectives

CLIP = 0.2


def policy_gradient(**config):
    return objectives("policy_gradient", policy_gradient=config)["policy_gradient"]


def values(rng, count):
    """Of so many candidates; of some nodes none teaches."""
    taught = (rng.random(count) < 0.8) & (rng.random() < 0.9)
    return {
        "policy_gradient.advantage": (rng.normal(size=count) * taught).astype(np.float32),
        "policy_gradient.weight": (rng.random(count) * taught).astype(np.float32),
        "policy_gradient.behaviour": (rng.normal(-3, 0.5, count) * taught).astype(np.float32),
        "policy_gradient.steps": taught.astype(np.float32),
    }


@pytest.mark.parametrize("seed", range(3))
def test_loss_and_gradient_on_log_pi_in_closed_form(seed):
    """−w min(r a, clip(r) a): its slope by the log π of each of its steps is −w r a, or 0."""
    batch, nodes = random_batch(seed, values)
    # About as likely as they were: log π of a step is that of its candidate by its steps.
    rng = np.random.default_rng(seed)
    log_pi = rng.normal(-3, 0.4, batch.parent_RxG.shape).astype(np.float32)
    for node in nodes:
        for path in node.steps:
            log_pi[node.row, path] /= len(path)
    expected, slope, seen = 0.0, np.zeros(log_pi.shape), set()
    clipped = weights = 0.0
    for node in nodes:
        own = [
            node.values[f"policy_gradient.{name}"] for name in ("advantage", "weight", "behaviour")
        ]
        for path, a, w, behaviour in zip(node.steps, *own, strict=True):
            r = np.exp(log_pi[node.row, path].sum(dtype=np.float64) - behaviour)
            bounded = np.clip(r, 1 - CLIP, 1 + CLIP)
            expected -= w * min(r * a, bounded * a)
            binds = (a > 0 and r > 1 + CLIP) or (a < 0 and r < 1 - CLIP)
            slope[node.row, path] -= 0 if binds else w * r * a
            clipped += w * (abs(r - 1) > CLIP)
            weights += w
            if w:
                seen.add((len(path), a > 0, r > 1 + CLIP, r < 1 - CLIP))
    assert len(seen) > 12, "candidates of 1 to 3 steps, better and worse, above, within and below"
    objective = policy_gradient(clip=CLIP)
    loss = lambda x: objective.loss(outputs(x), batch)  # noqa: E731
    (total, figures), gradient = jax.value_and_grad(loss, has_aux=True)(jnp.asarray(log_pi))
    np.testing.assert_allclose(total, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gradient, slope, atol=1e-5)
    np.testing.assert_allclose(figures["policy_gradient_loss"], (expected, weights), rtol=1e-4)
    np.testing.assert_allclose(figures["clipped"], (clipped, weights), rtol=1e-4)


def advantages_of(draws, normalise):
    """By the list of all draws' Q."""
    found = np.array(draws) - np.mean(draws)
    return found / np.std(draws) if normalise else found


@pytest.mark.parametrize("normalise", [False, True])
def test_lessons_of_a_tree_by_hand(normalise):
    tree = lesson(small(), "policy_gradient", policy_gradient=dict(normalise=normalise))
    nodes = {
        # Of the root a was drawn once, b twice, and c, which is finished and wrong, once.
        (A,): (0.25, 1, 4, -1.1),
        (B,): (0.5, 2, 4, -1.9),
        (C,): (0.0, 1, 4, -3.1),
        # Of node 1 e was drawn three times; f is open, and the search thinks it is worth 1.
        (A, D): (1.0, 1, 5, -0.6),
        (A, E): (0.0, 3, 5, -1.4),
        (A, F): (1.0, 1, 5, -2.6),
        # Node 2's are all worth nothing: it teaches nothing.
    }
    draws = {1: [0.25, 0.5, 0.5, 0.0], 2: [1.0, 0.0, 0.0, 0.0, 1.0]}
    expected = {
        path: {
            "policy_gradient.advantage": advantages_of(draws[len(path)], normalise)[
                draws[len(path)].index(q)
            ],
            "policy_gradient.weight": count / total,
            "policy_gradient.behaviour": behaviour,
            "policy_gradient.steps": 1,
        }
        for path, (q, count, total, behaviour) in nodes.items()
    }
    assert_columns(tree, expected | {(): {}})


def test_a_candidate_that_is_worth_as_much_as_its_node_has_nothing_to_teach():
    tree = small()
    q = tree.q.copy()
    q[0, 0] = 0.5, 0.25, 0.0  # a once and b twice, and c lost: 0.25 on average
    found = by_path(lesson(tree._replace(q=q), "policy_gradient"))
    assert set(found) == {(), (A,), (C,), (A, D), (A, E), (A, F)}


def test_what_is_not_there_counts_for_nothing():
    """A dead node, and a duplicate, whatever the search left in their places."""
    tree = small()
    valid, dead_node = tree.candidates.valid, (np.arange(3) == 2)[:, None]
    junk = redrawn(tree, count=tree.candidates.count + 5 * ~valid)._replace(
        live=np.array([[True, True, False]]), q=tree.q + 7.0 * ~valid + 3.0 * dead_node
    )
    wanted = by_path(lesson(tree, "policy_gradient"))
    found = by_path(lesson(junk, "policy_gradient"))
    assert found == wanted and (B, 10) not in found


def drawn():
    """Six draws, two of which wrote the same, as a searched tree, with their rewards."""
    tree = guesses()
    return tree, [(A, D), (A, D), (A, E), (B, D), (B, F), (C,)], [1, 1, 0, 1, 0, 0]


def test_on_flat_guesses_advantages_are_those_of_grpo():
    """(r − mean) / std of the group (Shao et al. 2024, section 4.1.2), each draw weighing 1 / G."""
    tree, texts, rewards = drawn()
    made = by_path(lesson(tree, "policy_gradient"))
    group = (np.array(rewards) - np.mean(rewards)) / np.std(rewards)
    for text, advantage in zip(texts, group, strict=True):
        np.testing.assert_allclose(made[text]["policy_gradient.advantage"], advantage, rtol=1e-6)
        share = texts.count(text) / len(texts)
        np.testing.assert_allclose(made[text]["policy_gradient.weight"], share, rtol=1e-6)
        assert made[text]["policy_gradient.steps"] == len(text)
    assert not made[(A,)] and not made[(B,)], "a shared line is no candidate"


def test_at_ratio_one_the_gradient_is_that_of_grpo():
    """Σ_i A_i ∇ log π(o_i) / G, where a line that texts share is moved by all of them."""
    tree, texts, rewards = drawn()
    group = (np.array(rewards) - np.mean(rewards)) / np.std(rewards)
    rng = np.random.default_rng(0)
    lines = sorted({text[:n] for text in texts for n in (1, 2) if n <= len(text)})
    log_pi_of = dict(zip(lines, rng.normal(-2, 1, len(lines)).astype(np.float32), strict=True))
    whole = {text: sum(log_pi_of[text[:n]] for n in range(1, len(text) + 1)) for text in texts}
    candidates = [(A, D), (A, E), (A, D), (B, D), (B, F), (C,)]
    behaviour = np.array([[[whole[text] for text in candidates]]], np.float32)
    made = lesson(redrawn(tree, log_beta=behaviour), "policy_gradient")
    batch, _ = Packer(1, 64, 16, COLUMNS).pack([made])
    log_pi, expected = np.zeros((1, 16), np.float32), np.zeros((1, 16))
    for g, path in enumerate(paths(made)):
        letters = tuple(step[0] for step in path[1:])
        if letters:
            log_pi[0, g] = log_pi_of[letters]
            through = [text[: len(letters)] == letters for text in texts]
            expected[0, g] = -np.sum(group * through) / len(texts)
        else:
            assert list(path[0]) == PROMPT
            log_pi[0, g] = 5.0  # means nothing
    loss = lambda x: policy_gradient().loss(outputs(x), batch)[0]  # noqa: E731
    total, gradient = jax.value_and_grad(loss)(jnp.asarray(log_pi))
    np.testing.assert_allclose(gradient, expected, atol=1e-6)
    np.testing.assert_allclose(total, 0, atol=1e-6)  # advantages sum to nothing


@pytest.mark.parametrize(
    ("advantage", "ratio", "moves"),
    [
        *((sign, ratio, True) for sign, ratio in itertools.product((1.0, -1.0), (0.85, 1.0, 1.15))),
        (1.0, 1.25, False),  # more likely than that is likely enough
        (1.0, 0.75, True),  # it is better than its place: back
        (-1.0, 0.75, False),  # less likely than that is unlikely enough
        (-1.0, 1.25, True),
    ],
)
def test_beyond_the_clip_nothing_moves_further(advantage, ratio, moves):
    def one(rng, count):
        first = np.arange(count) == 0
        filled = {"advantage": advantage, "weight": 1.0, "behaviour": -3.0, "steps": 1.0}
        return {f"policy_gradient.{name}": first * x for name, x in filled.items()}

    batch, nodes = random_batch(0, one)
    log_pi = np.zeros(batch.parent_RxG.shape, np.float32)
    node = next(node for node in nodes if len(node.steps[0]) == 2)
    log_pi[node.row, node.steps[0]] = (-3.0 + np.log(ratio)) / 2
    objective = policy_gradient(clip=CLIP)
    gradient = jax.grad(lambda x: objective.loss(outputs(x), batch)[0])(jnp.asarray(log_pi))
    found = gradient[node.row, jnp.array(node.steps[0])]
    np.testing.assert_allclose(found, -advantage * ratio if moves else 0.0, rtol=1e-5)


@pytest.mark.parametrize("advantage", [1.0, -1.0])
@pytest.mark.parametrize("log_ratio", [100.0, 1000.0, -1000.0])
def test_what_was_drawn_long_ago_breaks_nothing(advantage, log_ratio):
    """A ratio that float32 cannot hold, where the recorded probability is small or the new one."""
    filled = {"advantage": advantage, "weight": 0.5, "behaviour": -log_ratio, "steps": 1.0}
    batch, _ = random_batch(
        0, lambda rng, count: {f"policy_gradient.{k}": np.full(count, x) for k, x in filled.items()}
    )
    loss = lambda x: policy_gradient(clip=CLIP).loss(outputs(x), batch)[0]  # noqa: E731
    total, gradient = jax.value_and_grad(loss)(jnp.zeros(batch.parent_RxG.shape))
    assert np.isfinite(total) and np.isfinite(jnp.linalg.norm(gradient))
    assert advantage < 0 or log_ratio < 0 or not gradient.any()


def test_a_problem_that_all_guesses_or_none_solve_teaches_nothing():
    tree = guesses()
    for won in (np.zeros_like(tree.won), np.ones_like(tree.won)):
        made = lesson(tree._replace(won=won, q=won.astype(np.float32)), "policy_gradient")
        assert len(made.length) == 1 and not made.teaches


def test_a_problems_advantages_are_its_own():
    trees = small(), small()._replace(q=small().q * 0.5)
    objective = policy_gradient()
    together = objective.lessons(searched(both(*trees)), [None, None]).columns
    for b, tree in enumerate(trees):
        alone = objective.lessons(searched(tree), [None]).columns
        for name, x in alone.items():
            np.testing.assert_array_equal(together[name][b], x[0])
