"""The samplers against enumeration: with so small a vocabulary every continuation can be listed.

Thousands of rows with the same prompt and keys of their own are as many independent draws.
"""

import dataclasses
import itertools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from expert_iter.errors import UserError
from expert_iter.model.state import read_prompt
from expert_iter.model.transformer import KV, Network
from expert_iter.model.transformer_config import TransformerConfig
from expert_iter.search import next_tokens
from expert_iter.search.behaviour import DEAD, SamplerConfig, behaviour
from expert_iter.search.candidates import Candidates, merge_duplicates
from expert_iter.search.gumbel_top_k import log_inclusion
from expert_iter.search.sampling import sample_candidates
from tests.steps import steps_of

VOCAB, LENGTH, ROWS = 6, 3, 20_000
PROMPT = [1, 4, 5]
# Six standard deviations and more: a seed that fails by chance would be a rare thing.
LEAST_P, MOST_SIGMAS = 1e-4, 5.0


@pytest.fixture(scope="module")
def network():
    config = TransformerConfig(
        num_layers=1, width=16, num_heads=2, num_kv_heads=1, head_dim=4, mlp_width=16
    )
    return Network(config, VOCAB)


@pytest.fixture(scope="module", params=[next_tokens.MOST_NOISE, 0], ids=["noise", "top down"])
def draw(request, network, params, ids):
    """Draws K candidates a row, and says how deep the loop ran for each row; `prompt` is a single
    row's, or each row's tokens and length.
    """
    compiled = {}

    def draw(sampler, K, keys, step_end=ids.newline, prompt=None, live=None):
        def run(params, token, length, keys, live):
            state = read_prompt(network, params, token, length)
            if token.shape[0] == 1:
                rows = keys.shape[0]
                kv = KV(*(jnp.repeat(x, rows, axis=1) for x in state.kv))
                state = type(state)(kv, *(jnp.repeat(x, rows, axis=0) for x in state[1:]))
            return sample_candidates(
                network,
                params,
                state,
                keys,
                num_candidates=K,
                max_tokens=LENGTH,
                config=sampler,
                steps=steps_of(ids),
                whole=step_end is None,
                live_B=live,
            )

        run = compiled.setdefault((sampler, K, step_end), jax.jit(run))
        if prompt is None:
            prompt = np.array([PROMPT]), np.array([len(PROMPT)])
        live = np.ones(keys.shape[0], bool) if live is None else live
        return jax.tree.map(np.asarray, run(params, *prompt, keys, live))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(next_tokens, "MOST_NOISE", request.param)
        yield draw


@pytest.fixture(scope="module")
def many(draw, ids):
    """Four candidates in each of many rows; made once for each sampler."""
    drawn = {}

    def many(sampler, step_end=ids.newline):
        if (sampler, step_end) not in drawn:
            drawn[sampler, step_end], _ = draw(sampler, 4, keys(ROWS), step_end)
        return drawn[sampler, step_end]

    return many


def keys(rows, seed=0):
    return jax.random.split(jax.random.key(seed), rows)


def texts(drawn: Candidates):
    """Tokens of each candidate, `[rows][K]`; None where it is not valid."""
    return [
        [tuple(t[:n].tolist()) if v else None for t, n, v in zip(*row, strict=True)]
        for row in zip(drawn.token, drawn.length, drawn.valid, strict=True)
    ]


@pytest.fixture(scope="module")
def world(network, params, ids, read_whole):
    """All continuations of the prompt, for a kind of end: texts, log π, value, and β's log-prob."""

    def make(sampler, step_end=ids.newline):
        ends = {ids.eos} | ({step_end} if step_end is not None else set())
        written = [t for t in range(VOCAB) if t not in (ids.pad, ids.bos)]
        listed = []
        for n in range(1, LENGTH + 1):
            for text in itertools.product(written, repeat=n):
                before_end = not ends & set(text[:-1])
                if before_end and (text[-1] in ends or n == LENGTH):
                    listed.append(text)
        first = len(PROMPT)
        read = read_whole(network, params, [[*PROMPT, *t] for t in listed], ids, first + LENGTH)
        beta_by_token = np.asarray(reference_behaviour(read.logits, sampler))
        log_pi, log_beta, value = [], [], []
        for row, text in enumerate(listed):
            places = range(first, first + len(text))
            log_pi.append(read.log_prob[row, places].sum())
            log_beta.append(
                sum(beta_by_token[row, p - 1, t] for p, t in zip(places, text, strict=True))
            )
            value.append(read.value[row, places[-1]])
        log_pi, log_beta, value = map(np.array, (log_pi, log_beta, value))
        np.testing.assert_allclose(np.exp(log_pi).sum(), 1, atol=1e-6)
        np.testing.assert_allclose(np.exp(log_beta).sum(), 1, atol=1e-6)
        return SimpleNamespace(
            text=listed,
            index={text: i for i, text in enumerate(listed)},
            log_pi=log_pi,
            log_beta=log_beta,
            value=value,
        )

    return make


def reference_behaviour(logits, sampler):
    """log β of logits `[..., V]`, one distribution at a time, in float64."""
    flat = logits.reshape(-1, logits.shape[-1]).astype(np.float64)
    out = np.full(flat.shape, -np.inf)
    for row, x in enumerate(flat):
        probability = np.exp((x - x.max()) / sampler.temperature)
        probability /= probability.sum()
        order = np.argsort(-probability)
        kept, mass = [], 0.0
        for rank, token in enumerate(order):
            if (sampler.top_k and rank >= sampler.top_k) or mass >= sampler.top_p:
                break
            kept.append(token)
            mass += probability[token]
        with np.errstate(divide="ignore"):
            out[row, kept] = np.log(probability[kept] / mass)
    return out.reshape(logits.shape)


SAMPLERS = {
    "plain": SamplerConfig(),
    "hot": SamplerConfig(temperature=1.7, max_log_ratio=50.0),
    "cut": SamplerConfig(temperature=0.8, top_k=3, top_p=0.9, max_log_ratio=50.0),
}
INDEPENDENT = {
    name: dataclasses.replace(sampler, replacement=True) for name, sampler in SAMPLERS.items()
}


def chi_square(counts, probability):
    """The p-value of counts against probabilities, rare outcomes thrown together."""
    expected = probability / probability.sum() * counts.sum()
    common = expected >= 5
    observed, expected = (np.append(x[common], x[~common].sum()) for x in (counts, expected))
    if expected[-1] < 5:
        observed, expected = (np.append(x[:-2], x[-2:].sum()) for x in (observed, expected))
    return stats.chisquare(observed, expected).pvalue


# Without replacement: stochastic beam search is exact.


@pytest.mark.parametrize("name", SAMPLERS)
def test_ordered_draws_without_replacement_have_their_exact_probabilities(name, many, world):
    """P(i, j, k, …) = p_i · p_j / (1 − p_i) · p_k / (1 − p_i − p_j) · …, candidates in order."""
    w = world(SAMPLERS[name])
    found = np.array([[w.index[text] for text in row] for row in texts(many(SAMPLERS[name]))])
    p = np.exp(w.log_beta)
    n = len(p)
    exact, left = np.ones(()), np.ones(())
    for place in range(4):
        shape = (n,) + (1,) * (3 - place)
        with np.errstate(divide="ignore", invalid="ignore"):
            exact = exact * np.nan_to_num(p.reshape(shape) / left, posinf=0)
        left = left - p.reshape(shape)
    for a, b in itertools.combinations(range(4), 2):
        exact = exact * (1 - np.eye(n).reshape([n if d in (a, b) else 1 for d in range(4)]))
    np.testing.assert_allclose(exact.sum(), 1, atol=1e-6)
    counts = np.zeros(exact.shape)
    np.add.at(counts, tuple(found.T), 1)
    assert counts[exact == 0].sum() == 0
    marginals = [[a] for a in range(4)] + [*itertools.combinations(range(4), 2), (0, 1, 2)]
    for places in marginals:
        others = tuple(set(range(4)) - set(places))
        observed, expected = counts.sum(others).ravel(), exact.sum(others).ravel()
        assert chi_square(observed[expected > 0], expected[expected > 0]) > LEAST_P, places

    # Inclusion probabilities: in any of the four places.
    included = sum(exact.sum(tuple(set(range(4)) - {place})) for place in range(4))
    share = np.bincount(found.ravel(), minlength=n) / ROWS
    sigma = np.sqrt(np.maximum(included * (1 - included), 0) / ROWS)
    assert np.all(np.abs(share - included) <= MOST_SIGMAS * sigma + 1e-9)


def test_a_set_holds_no_text_twice_and_fills_every_place(many):
    drawn = many(SAMPLERS["plain"])
    assert drawn.valid.all() and (drawn.count == 1).all()
    assert all(len(set(row)) == 4 for row in texts(drawn))


def test_fewer_texts_than_places_are_all_drawn_once(draw, world):
    """At a temperature so high that the impossible comes near."""
    sampler = SamplerConfig(temperature=4.0, max_log_ratio=50.0)
    w = world(sampler)
    K = len(w.text) + 4
    drawn, _ = draw(sampler, K, keys(40))
    assert (drawn.valid.sum(1) == len(w.text)).all()
    for row, found in enumerate(texts(drawn)):
        assert {text for text in found if text} == set(w.text)
        order = [w.index[text] for text in found if text]
        valid = drawn.valid[row]
        # All are sure to be drawn (q = 1): the prior is the policy itself.
        np.testing.assert_allclose(drawn.prior_logit[row, valid], w.log_pi[order], atol=1e-4)
        np.testing.assert_array_equal(drawn.prior_logit[row, ~valid], DEAD)
        assert not drawn.finished[row, ~valid].any()
        assert not drawn.count[row, ~valid].any()


@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize("name", ["plain", "hot"])
def test_importance_weights_estimate_expectations_under_the_policy(name, replacement, many, world):
    """Σ exp(prior) f over a row: without replacement Σ (π/q) f, else K times a mean of (π/β) f."""
    sampler = dataclasses.replace(SAMPLERS[name], replacement=replacement)
    w, drawn = world(sampler), many(sampler)
    pi = np.exp(w.log_pi)
    weight = np.exp(drawn.prior_logit.astype(np.float64)) / (4 if replacement else 1)
    index = np.array([[w.index.get(text, -1) for text in row] for row in texts(drawn)])
    assert (weight[index < 0] == 0).all()
    rng = np.random.default_rng(0)
    one_text = [np.eye(len(pi))[i] for i in np.argsort(-pi)[[0, 3, 8]]]
    for f in (np.ones(len(pi)), w.value, rng.normal(size=len(pi)), *one_text):
        estimate = (weight * f[index]).sum(1)
        error = estimate.std() / np.sqrt(ROWS)
        assert abs(estimate.mean() - pi @ f) < MOST_SIGMAS * error + 1e-6
        assert error < 0.05, "so wide an interval shows nothing"


def test_inclusion_probability_of_given_numbers():
    """q = P(log β + G > κ) = 1 − exp(−β · exp(−κ)), also where it is all but 0 or 1."""
    log_beta, threshold = np.meshgrid([-30.0, -5.0, -1.0, -1e-3], [-40.0, -3.0, 0.0, 6.0])
    expected = np.log(-np.expm1(-np.exp(log_beta - threshold)))
    np.testing.assert_allclose(log_inclusion(log_beta, threshold), expected, rtol=1e-5, atol=1e-6)


# Independent draws.


@pytest.mark.parametrize("name", INDEPENDENT)
def test_independent_draws_have_the_behaviours_frequencies(name, many, world):
    w, drawn = world(INDEPENDENT[name]), many(INDEPENDENT[name])
    np.testing.assert_array_equal(drawn.count.sum(1), 4)
    np.testing.assert_array_equal(drawn.valid, drawn.count > 0)
    total = np.zeros(len(w.text))
    for row, count in zip(texts(drawn), drawn.count, strict=True):
        assert len({text for text in row if text}) == sum(text is not None for text in row)
        for text, times in zip(row, count, strict=True):
            if text:
                total[w.index[text]] += times
    p = np.exp(w.log_beta)
    assert total[p == 0].sum() == 0
    assert chi_square(total[p > 0], p[p > 0]) > LEAST_P


def test_places_of_a_row_are_independent(many, world):
    """All four draws are the same text with probability Σ p⁴."""
    w = world(INDEPENDENT["plain"])
    same = (many(INDEPENDENT["plain"]).count[:, 0] == 4).mean()
    expected = (np.exp(w.log_beta) ** 4).sum()
    assert abs(same - expected) < MOST_SIGMAS * np.sqrt(expected * (1 - expected) / ROWS)


def test_equal_draws_are_merged_into_the_first():
    token = jnp.array([[[4, 3], [5, 3], [4, 3], [4, 3], [5, 0]], [[4, 0]] * 5]).at[1, :, 1].set(0)
    first, count = merge_duplicates(token)
    np.testing.assert_array_equal(first, [[1, 1, 0, 0, 1], [1, 0, 0, 0, 0]])
    np.testing.assert_array_equal(count, [[3, 1, 0, 0, 1], [5, 0, 0, 0, 0]])


def test_prior_of_independent_draws_counts_and_weighs(many):
    for bound in (50.0, 0.1):
        sampler = dataclasses.replace(INDEPENDENT["hot"], max_log_ratio=bound)
        drawn = many(sampler)
        ratio = drawn.log_pi - drawn.log_beta
        assert (np.abs(ratio) > 0.2).any()
        expected = np.log(np.maximum(drawn.count, 1)) + np.clip(ratio, -bound, bound)
        expected = np.where(drawn.valid, expected, DEAD)
        np.testing.assert_allclose(drawn.prior_logit, expected, atol=1e-5)


# Both.


KINDS = [(name, replacement, "line") for name in SAMPLERS for replacement in (False, True)]


@pytest.mark.parametrize(("name", "replacement", "step_end"), [*KINDS, ("hot", False, "text")])
def test_what_is_said_of_a_candidate_is_true(name, replacement, step_end, many, world, ids):
    """log π, log β and value equal those of reading the text at once; its flags fit its end."""
    end = ids.newline if step_end == "line" else None
    sampler = dataclasses.replace(SAMPLERS[name], replacement=replacement)
    w = world(sampler, end)
    drawn = jax.tree.map(lambda x: x[:300], many(sampler, end))
    kinds = set()
    for row, found in enumerate(texts(drawn)):
        for k, text in enumerate(found):
            if text is None:
                continue
            i = w.index[text]  # a text that goes on after its end, or stops before, is not listed
            assert drawn.log_pi[row, k] == pytest.approx(w.log_pi[i], abs=1e-4)
            assert drawn.log_beta[row, k] == pytest.approx(w.log_beta[i], abs=1e-4)
            assert drawn.model_value[row, k] == pytest.approx(w.value[i], abs=1e-5)
            assert (drawn.token[row, k, len(text) :] == ids.pad).all()
            finished = text[-1] == ids.eos
            assert drawn.finished[row, k] == finished
            kinds.add((len(text), finished, finished or text[-1] == end))
    if name == "plain" and step_end == "line":
        assert kinds == {(n, f, True) for n in (1, 2, 3) for f in (0, 1)} | {(3, False, False)}


@pytest.mark.parametrize("replacement", [False, True])
def test_greedy_writes_the_likeliest_tokens(replacement, draw, network, params, ids, read_whole):
    """And the loop ends with the longest row that is wanted."""
    rng = np.random.default_rng(0)
    prompts = np.concatenate([np.ones((12, 1), int), rng.integers(2, VOCAB, (12, 3))], axis=1)
    prompt = prompts, np.full(12, 4)
    sampler = SamplerConfig(temperature=0.0, replacement=replacement)
    drawn, _ = draw(sampler, 3, keys(12), prompt=prompt)
    np.testing.assert_array_equal(drawn.valid, [[True, False, False]] * 12)
    np.testing.assert_array_equal(drawn.count[:, 0], 3 if replacement else 1)
    np.testing.assert_array_equal(drawn.log_beta[:, 0], 0)
    for row in range(12):
        text = prompts[row].tolist()
        while len(text) < 4 + LENGTH and (len(text) == 4 or text[-1] not in (ids.eos, ids.newline)):
            logits = read_whole(network, params, [text], ids, 4 + LENGTH).logits
            text.append(int(logits[0, len(text) - 1].argmax()))
        read = read_whole(network, params, [text], ids, 4 + LENGTH)
        assert texts(drawn)[row][0] == tuple(text[4:])
        log_pi = read.log_prob[0, 4 : len(text)].sum()
        assert drawn.log_pi[row, 0] == pytest.approx(log_pi, abs=1e-4)

    other, _ = draw(sampler, 3, keys(12, seed=1), prompt=prompt)
    assert_same(drawn, other, ..., ...)
    length = drawn.length[:, 0]
    assert len(set(length)) > 1
    for n in (0, *set(length)):
        live = length <= n
        assert (draw(sampler, 3, keys(12), prompt=prompt, live=live)[1] == n).all()


@pytest.mark.parametrize("replacement", [False, True])
def test_a_row_depends_on_nothing_beside_it(replacement, draw):
    """Not on the order of rows, on who else is there, or on who is not wanted."""
    sampler, rng = SamplerConfig(replacement=replacement), np.random.default_rng(5)
    token = np.concatenate([np.ones((12, 1), int), rng.integers(2, VOCAB, (12, 3))], axis=1)
    length, key = rng.integers(1, 5, 12), keys(12, seed=6)
    straight, _ = draw(sampler, 4, key, prompt=(token, length))
    order = rng.permutation(12)
    part = np.array([7, 2, 2, 9])
    for rows in (order,) if replacement else (order, part):
        other, _ = draw(sampler, 4, key[rows], prompt=(token[rows], length[rows]))
        assert_same(straight, other, rows, ...)
    live = np.arange(12) % 3 == 0
    other, _ = draw(sampler, 4, key, prompt=(token, length), live=live)
    assert_same(straight, other, live, live)
    changed, _ = draw(sampler, 4, keys(12, seed=7), prompt=(token, length))
    assert (changed.token != straight.token).any((1, 2)).sum() > 6


@pytest.mark.parametrize("replacement", [False, True])
def test_rows_that_have_ended_are_left_behind(replacement, draw):
    """What is drawn is the same; a row pays until half of those beside it have ended with it."""
    sampler, rng = SamplerConfig(replacement=replacement, temperature=2.0), np.random.default_rng(8)
    token = np.concatenate([np.ones((12, 1), int), rng.integers(2, VOCAB, (12, 3))], axis=1)
    given = {"prompt": (token, rng.integers(1, 5, 12)), "live": np.arange(12) % 6 > 0}
    straight, depth = draw(sampler, 2, keys(12, seed=3), **given)
    halved, depth_halved = draw(
        dataclasses.replace(sampler, halvings=9), 2, keys(12, seed=3), **given
    )
    assert_same(straight, halved, given["live"], given["live"])
    end = np.where(given["live"], straight.length.max(1), 0)
    assert (depth == end.max()).all() and len(set(end)) > 2
    # 12 rows, then 6, 3 and 1: the rest leaves as soon as no more than these have longer texts.
    ordered = np.sort(end)[::-1]
    leaves = [ordered[6], ordered[3], ordered[1], ordered[0]]
    assert set(depth_halved) <= set(leaves)
    assert (depth_halved >= end).all() and (np.bincount(depth_halved).cumsum()[leaves[0]]) >= 6


def assert_same(a: Candidates, b: Candidates, rows_a, rows_b):
    for name, x, y in zip(a._fields, a, b, strict=True):
        if x is None:
            continue
        x, y = x[rows_a], y[rows_b]
        if x.dtype.kind == "f":
            np.testing.assert_allclose(x, y, atol=1e-4, err_msg=name)
        else:
            np.testing.assert_array_equal(x, y, err_msg=name)


@pytest.mark.parametrize(
    "sampler",
    [
        SamplerConfig(),
        SamplerConfig(temperature=0.5),
        SamplerConfig(top_k=1),
        SamplerConfig(top_k=4, temperature=2.0),
        SamplerConfig(top_k=99),
        SamplerConfig(top_p=0.3),
        SamplerConfig(top_p=0.9, temperature=3.0),
        SamplerConfig(top_k=5, top_p=0.6),
        SamplerConfig(top_p=1e-6),
    ],
)
def test_behaviour_is_a_temperature_and_two_cuts(sampler):
    logits = np.random.default_rng(9).normal(size=(50, 10)).astype(np.float32) * 2
    log_beta = np.asarray(behaviour(logits, sampler))
    expected = reference_behaviour(logits, sampler)
    np.testing.assert_array_equal(log_beta > DEAD / 2, np.isfinite(expected))
    np.testing.assert_allclose(log_beta, np.maximum(expected, DEAD), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0, 5.0])
def test_what_is_never_written_stays_impossible(temperature):
    logits = jnp.array([0.0, DEAD, 1.0])
    log_beta = behaviour(logits, SamplerConfig(temperature=temperature))
    assert log_beta[1] <= DEAD


@pytest.mark.parametrize(
    "bad", [{"temperature": -0.1}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.1}]
)
def test_impossible_samplers_are_refused_by_name(bad):
    with pytest.raises(UserError, match=f"sampler.{next(iter(bad))}"):
        SamplerConfig(**bad)
