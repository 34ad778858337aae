import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from expert_iter.errors import UserError
from expert_iter.search.behaviour import DEAD, SamplerConfig
from expert_iter.search.bill import Budget, flops_per_token
from expert_iter.search.guess import GROUP, Guess, GuessConfig
from tests.steps import steps_of

ROWS, SAMPLES, TOKENS = 5, 2 * GROUP, 4
CONFIG = GuessConfig(num_samples=SAMPLES, max_tokens=TOKENS)
INDEPENDENT = SamplerConfig(replacement=True, temperature=0.6, max_log_ratio=1.0)
WITHOUT = dataclasses.replace(INDEPENDENT, replacement=False)


def right(problem_B, step_BxKxL):
    """A verdict that depends on the problem and on the text."""
    return (jnp.sum(step_BxKxL, axis=-1) + problem_B[:, None]) % 2 == 0


@pytest.fixture(scope="module")
def questions():
    rng = np.random.default_rng(0)
    token = np.concatenate([np.ones((ROWS, 1), int), rng.integers(2, 12, (ROWS, 3))], axis=1)
    length = np.array([1, 4, 3, 2, 4])
    return token, length, np.arange(ROWS), jax.random.split(jax.random.key(1), ROWS)


@pytest.fixture(scope="module", params=["groups", "one group", "without replacement"])
def drawn(request, network, params, ids, questions):
    """(the tree, its sampler)"""
    config, sampler = CONFIG, INDEPENDENT
    if request.param == "one group":
        config = dataclasses.replace(CONFIG, num_samples=GROUP + 1)
    if request.param == "without replacement":
        sampler = WITHOUT
    guess = Guess(network, config, sampler, steps_of(ids))
    tree = jax.jit(guess.run)(params, *questions)
    return jax.tree.map(np.asarray, tree), sampler


def texts(tree, b):
    return [
        tuple(t[:n].tolist())
        for t, n in zip(tree.candidates.token[b, 0], tree.candidates.length[b, 0], strict=True)
    ]


def test_a_tree_of_one_node_with_each_text_once(drawn):
    tree, sampler = drawn
    assert tree.live.shape == (ROWS, 1) and tree.live.all()
    assert (tree.child == -1).all() and not tree.visits.any()
    repeated = 0
    for b in range(ROWS):
        found = texts(tree, b)
        first = [text not in found[:i] for i, text in enumerate(found)]
        np.testing.assert_array_equal(tree.candidates.valid[b, 0], first)
        count = [found.count(text) if new else 0 for text, new in zip(found, first, strict=True)]
        np.testing.assert_array_equal(tree.candidates.count[b, 0], count)
        across = set(found[:GROUP]) & set(found[GROUP:])
        repeated += len(across)
    assert (repeated > 0) == sampler.replacement


def test_what_is_said_of_a_solution_is_true(drawn, questions, network, params, ids, read_whole):
    tree, sampler = drawn
    kinds = set()
    for b in range(ROWS):
        prompt = questions[0][b, : questions[1][b]].tolist()
        found = texts(tree, b)
        read = read_whole(network, params, [[*prompt, *t] for t in found], ids, 4 + TOKENS)
        for k, text in enumerate(found):
            start, end = len(prompt), len(prompt) + len(text)
            assert ids.eos not in text[:-1] and ids.pad not in text and ids.bos not in text
            finished = text[-1] == ids.eos
            assert finished or len(text) == TOKENS
            assert tree.candidates.finished[b, 0, k] == finished
            log_pi = read.log_prob[k, start:end].sum()
            assert tree.candidates.log_pi[b, 0, k] == pytest.approx(log_pi, abs=1e-4)
            value = read.value[k, end - 1]
            assert tree.candidates.model_value[b, 0, k] == pytest.approx(value, abs=1e-4)
            assert not tree.won[b, 0, k]
            worth = float(value) if finished else 0.0
            assert tree.value[b, 0, k] == tree.q[b, 0, k] == pytest.approx(worth, abs=1e-4)
            kinds.add((finished, ids.newline in text))
    assert len(kinds) == 4, "the end of a line must not end a solution, the end of the text must"
    if sampler.replacement:
        ratio = np.clip(tree.candidates.log_pi - tree.candidates.log_beta, -1, 1)
        prior = np.where(
            tree.candidates.valid, np.log(np.maximum(tree.candidates.count, 1)) + ratio, DEAD
        )
        np.testing.assert_allclose(tree.candidates.prior_logit, prior, atol=1e-5)
        assert (np.abs(tree.candidates.log_pi - tree.candidates.log_beta) > 1).any()


def test_the_bill_counts_every_draw(drawn, questions, network):
    tree, _ = drawn
    drawn_tokens = tree.candidates.length[:, 0].sum(1)
    np.testing.assert_array_equal(tree.bill.generated, drawn_tokens)
    np.testing.assert_array_equal(tree.bill.prefilled, questions[1])
    np.testing.assert_allclose(
        tree.bill.lockstep, tree.candidates.length.shape[2] * tree.candidates.length.max()
    )
    price = lambda context: flops_per_token(network.config, network.vocab_size, context)  # noqa: E731
    for b in range(ROWS):
        prompt = questions[1][b]
        total = prompt * price(prompt)[0]
        total += sum(n * sum(price(prompt + n / 2)) for n in tree.candidates.length[b, 0])
        assert tree.bill.flops[b] == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("sampler", [INDEPENDENT, WITHOUT], ids=["independent", "without"])
def test_a_budget_pays_for_the_first_draws(network, params, ids, questions, sampler):
    """As many as come nearest to it, were the next like those before; whatever it is counted in."""
    run = jax.jit(Guess(network, CONFIG, sampler, steps_of(ids)).run)
    every = jax.tree.map(np.asarray, run(params, *questions))
    price = lambda context: np.array(flops_per_token(network.config, 12, context))  # noqa: E731
    stopped = set()
    for amount in (1, 9, 20, 33, 1000):
        for budget in (Budget(SAMPLES, tokens=amount), Budget(SAMPLES, flops=amount * 5e3)):
            tree = jax.tree.map(np.asarray, run(params, *questions, budget))
            for b in range(ROWS):
                prompt, length = questions[1][b], every.candidates.length[b, 0]
                cost, start = length, 0
                if budget.tokens == np.inf:
                    cost = np.array([k * price(prompt + k / 2).sum() for k in length])
                    start = prompt * price(prompt)[0]
                limit, n = min(budget.tokens, budget.flops), 1
                while n < SAMPLES and start + cost[:n].sum() + cost[:n].mean() / 2 <= limit:
                    n += 1
                first = zip(texts(tree, b), tree.candidates.count[b, 0], strict=True)
                drawn = texts(every, b)[:n]
                assert [text for text, count in first if count] == list(dict.fromkeys(drawn))
                assert tree.candidates.count[b, 0].sum() == n
                assert tree.bill.generated[b] == length[:n].sum()
                assert not tree.candidates.finished[b, 0, n:].any()
                stopped.add(n)
    assert {1, SAMPLES} < stopped


def test_draws_that_do_not_exist_cost_nothing(network, params, ids, questions):
    """Two tokens at each place, and three places: there are no 16 without replacement."""
    few = dataclasses.replace(WITHOUT, top_k=2)
    guess = Guess(network, dataclasses.replace(CONFIG, max_tokens=3), few, steps_of(ids))
    tree = jax.tree.map(np.asarray, jax.jit(guess.run)(params, *questions))
    for b in range(ROWS):
        exist = tree.candidates.valid[b, 0]
        assert 2 <= exist.sum() <= 8
        assert len({text for text, ok in zip(texts(tree, b), exist, strict=True) if ok}) == sum(
            exist
        )
        assert tree.bill.generated[b] == tree.candidates.length[b, 0, exist].sum()


def test_a_row_depends_on_nothing_beside_it(network, params, ids, questions):
    guess = jax.jit(Guess(network, CONFIG, INDEPENDENT, steps_of(ids)).run)
    straight = jax.tree.map(np.asarray, guess(params, *questions))
    order = np.array([3, 0, 4, 1, 2])
    other = guess(params, *(x[order] for x in questions))
    np.testing.assert_array_equal(straight.candidates.token[order], other.candidates.token)
    np.testing.assert_array_equal(straight.candidates.count[order], other.candidates.count)
    groups = straight.candidates.token[:, 0].reshape(ROWS, 2, GROUP, TOKENS)
    assert (groups[:, 0] != groups[:, 1]).any(), "each group has randomness of its own"


@pytest.mark.parametrize("bad", [{"num_samples": 0}, {"max_tokens": 0}])
def test_impossible_settings_are_refused_by_name(bad):
    with pytest.raises(UserError, match=f"guess.{next(iter(bad))}"):
        GuessConfig(**bad)
