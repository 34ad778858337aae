"""Draws from the top down against closed forms, and against noise for each token."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from expert_iter.search import gumbel_top_down, gumbel_top_k
from expert_iter.search.behaviour import DEAD

ROWS = 20_000
LEAST_P = 1e-4


def keys(seed, rows=ROWS):
    return jax.random.split(jax.random.key(seed), rows)


def logits_of(vocab, seed=0):
    """Few tokens with nearly all of the mass, far apart, and many with little."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=vocab)
    logits[rng.choice(vocab, 4, replace=False)] += 9
    return logits.astype(np.float32)


@jax.jit
def children(keys, log_beta, perturbed, done, logits):
    blocks = gumbel_top_down.in_blocks(logits)
    uniform = gumbel_top_down.row_uniform(keys, 3, (logits.shape[1], 3))
    return gumbel_top_down.best_children(log_beta, perturbed, done, blocks, uniform)


@jax.jit
def children_by_noise(keys, log_beta, perturbed, done, logits):
    noise = gumbel_top_k.row_gumbel(keys, 5, logits.shape[1:])
    log_probs = jax.nn.log_softmax(logits)
    return gumbel_top_k.best_children(log_beta, perturbed, done, log_probs, noise)


def from_one_parent(K, logits, seed=0):
    """The K children of one parent with perturbed log-probability 0.7, in each of many rows."""
    exists = jnp.arange(K) == 0
    log_beta = jnp.where(exists, -0.4, DEAD) + jnp.zeros((ROWS, 1))
    perturbed = jnp.where(exists, 0.7, DEAD) + jnp.zeros((ROWS, 1))
    logits = jnp.broadcast_to(logits, (ROWS, K, len(logits)))
    given = log_beta, perturbed, jnp.zeros((ROWS, K), bool), logits
    return [jax.tree.map(np.asarray, run(keys(seed), *given)) for run in BOTH]


BOTH = children, children_by_noise


@pytest.mark.parametrize("vocab", [6, 96, 256])
def test_pairs_are_drawn_without_replacement(vocab):
    """P(i, then j) = p(i) p(j) / (1 − p(i))."""
    logits = logits_of(vocab)
    (parent, token, perturbed, _), _ = from_one_parent(2, logits)
    assert (parent == 0).all() and (token[:, 0] != token[:, 1]).all()
    assert (token >= 0).all() and (token < vocab).all()
    np.testing.assert_allclose(perturbed[:, 0], 0.7)
    p = np.exp(logits.astype(float) - logits.max())
    p /= p.sum()
    pairs = p[:, None] * p[None] / (1 - p)[:, None]
    np.fill_diagonal(pairs, 0)
    expected, seen = pairs.ravel() * ROWS, np.zeros((vocab, vocab))
    np.add.at(seen, (token[:, 0], token[:, 1]), 1)
    often = expected >= 5
    seen, expected = (np.append(x[often], x[~often].sum()) for x in (seen.ravel(), expected))
    assert often.sum() > 10
    assert stats.chisquare(seen, expected).pvalue > LEAST_P


def test_values_below_a_parent_are_gumbel_numbers_below_its_own():
    logits = logits_of(512)
    (_, token, perturbed, left_out), (_, _, by_noise, left_out_by_noise) = from_one_parent(
        4, logits
    )
    for k in range(1, 4):
        assert stats.ks_2samp(perturbed[:, k], by_noise[:, k]).pvalue > LEAST_P
    assert stats.ks_2samp(left_out, left_out_by_noise).pvalue > LEAST_P
    # By the closed form: P(second < g | first = b, i) = exp((1 − p(i)) β (e^−b − e^−g)).
    p = np.asarray(jax.nn.softmax(logits))[token[:, 0]].astype(float)
    mass = (1 - p) * np.exp(-0.4)
    rank = np.exp(mass * (np.exp(-0.7) - np.exp(-perturbed[:, 1].astype(float))))
    assert stats.kstest(rank, "uniform").pvalue > LEAST_P


def test_several_parents_compete_as_with_noise():
    """A complete parent, one that is missing, a likely and an unlikely one."""
    K, vocab = 4, 320
    log_beta = jnp.broadcast_to(jnp.array([-0.5, -2.0, DEAD, -1.0]), (ROWS, K))
    perturbed = jnp.broadcast_to(jnp.array([0.3, -0.8, DEAD, -1.5]), (ROWS, K))
    done = jnp.broadcast_to(jnp.array([False, False, False, True]), (ROWS, K))
    logits = jnp.stack([logits_of(vocab, seed) for seed in range(K)])
    logits = jnp.broadcast_to(logits, (ROWS, K, vocab))
    top_down, by_noise = (
        jax.tree.map(np.asarray, run(keys(1), log_beta, perturbed, done, logits)) for run in BOTH
    )
    assert (np.diff(top_down[2], axis=1) <= 0).all() and (top_down[3] <= top_down[2][:, -1]).all()
    assert ((top_down[0] == 3).sum(1) <= 1).all() and (top_down[0] != 2).all()
    pairs = top_down[0] * vocab + top_down[1]
    pairs[top_down[0] == 3] = -1
    assert all(len(set(row)) == K for row in pairs.tolist())
    for k in range(K):
        ours, theirs = (np.bincount(x[0][:, k], minlength=K) for x in (top_down, by_noise))
        there = (ours + theirs) > 10
        if there.sum() > 1:
            assert stats.chi2_contingency([ours[there], theirs[there]]).pvalue > LEAST_P
        assert stats.ks_2samp(top_down[2][:, k], by_noise[2][:, k]).pvalue > LEAST_P
    assert stats.ks_2samp(top_down[3], by_noise[3]).pvalue > LEAST_P


def test_no_token_without_mass_is_drawn():
    """Three tokens can be written: a fourth child is none, and nothing is left out."""
    logits = np.full(512, DEAD, np.float32)
    logits[[5, 300, 511]] = 1.0, -60.0, 2.0
    (_, token, perturbed, left_out), _ = from_one_parent(4, logits)
    dead = perturbed <= DEAD / 2
    assert dead[:, 3].all() and (left_out <= DEAD / 2).all()
    assert set(token[~dead].tolist()) <= {5, 300, 511}
    assert (np.sort(token[:, :2], axis=1) == [5, 511]).all()
    # e^−62 of the mass is no reason to lose its digits.
    assert (token[~dead[:, 2], 2] == 300).all() and not dead[:, 2].any()
    assert perturbed[:, 2].mean() == pytest.approx(-0.4 - 62.3 + 0.577, abs=0.2)


@pytest.mark.parametrize("vocab", [7, 96, 1024])
def test_independent_draws_have_their_probabilities(vocab):
    logits = np.stack([logits_of(vocab, seed) for seed in range(2)])
    blocks = gumbel_top_down.in_blocks(jnp.broadcast_to(logits, (ROWS, *logits.shape)))
    uniform = gumbel_top_down.row_uniform(keys(3), 0, (2, 2))
    token = np.asarray(jax.jit(gumbel_top_down.draw_each)(uniform, blocks))
    for k in range(2):
        p = np.exp(logits[k].astype(float))
        expected = ROWS * p / p.sum()
        often = expected >= 5
        seen = np.bincount(token[:, k], minlength=vocab)
        seen, expected = (np.append(x[often], x[~often].sum()) for x in (seen, expected))
        assert stats.chisquare(seen, expected).pvalue > LEAST_P


@pytest.mark.parametrize("vocab", [7, 100, 512])
def test_log_probabilities_are_those_of_the_softmax(vocab):
    rng = np.random.default_rng(4)
    logits = rng.normal(size=(3, 2, vocab)).astype(np.float32) * 20
    blocks = gumbel_top_down.in_blocks(jnp.asarray(logits))
    parent, token = rng.integers(0, 2, (3, 5)), rng.integers(0, vocab, (3, 5))
    expected = jax.nn.log_softmax(logits)[np.arange(3)[:, None], parent, token]
    np.testing.assert_allclose(
        gumbel_top_down.log_probs(blocks, parent, token), expected, rtol=1e-5, atol=1e-5
    )
