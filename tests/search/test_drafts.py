"""Steps that a world answers: what is drawn is what reading whole texts again says, and drawing
without replacement stays exact.
"""

import dataclasses
import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from expert_iter.model.step_ends import StepEnds
from expert_iter.pod.mesh import Layout, MeshConfig, one_device
from expert_iter.search import experts
from expert_iter.search.behaviour import SamplerConfig
from expert_iter.search.drafts import Answers
from expert_iter.search.experts import ExpertSettings
from expert_iter.search.guess import GuessConfig
from expert_iter.search.player import driven
from expert_iter.search.readout import path, step_observed, step_tokens
from expert_iter.search.search_config import SearchConfig
from tests.generators import returned

ROWS, LONGEST = 6, 2  # problems; tokens of an observation
SEARCH = SearchConfig(
    num_simulations=6,
    num_candidates=3,
    root_candidates=4,
    max_steps=3,
    max_step_tokens=2,
    max_observation_tokens=LONGEST,
)
SAMPLER = SamplerConfig(temperature=1.3)
GO_ON, ILLEGAL, OVER = range(3)


def says(text):
    """What the world answers to a text of tokens: a status, and tokens that depend on all of it."""
    number = sum((i + 1) * token for i, token in enumerate(text))
    status = (GO_ON, ILLEGAL, GO_ON, OVER, GO_ON)[number % 5]
    words = [] if status == ILLEGAL else [4 + number % 7, 5 + number % 6][: number % 3]
    return status, words


class TokenWorld:
    """Answers new steps; remembers the texts that it was asked about."""

    def __init__(self, token, length):
        self.prompts = [row[:n].tolist() for row, n in zip(token, length, strict=True)]
        self.asked = []

    def ask(self, problem_B, steps):
        shape = steps.asked.shape
        token, length = np.zeros((*shape, LONGEST), np.int32), np.zeros(shape, np.int32)
        goes_on, over = np.zeros((2, *shape), bool)
        for b, k in zip(*np.nonzero(steps.asked), strict=True):
            written = [*steps.prefix[b].ravel().tolist(), *steps.token[b, k].tolist()]
            text = [*self.prompts[problem_B[b]], *(t for t in written if t)]
            self.asked.append(tuple(text))
            assert steps.ended[b, k] == (text[-1] == 2)
            status, words = says(text)
            token[b, k, : len(words)], length[b, k] = words, len(words)
            goes_on[b, k], over[b, k] = status == GO_ON, status == OVER
        return lambda: Answers(token, length, goes_on, over)


@pytest.fixture(scope="module")
def ends(ids):
    def text(token):
        return "\n" if token == ids.newline else "x"

    return StepEnds(SimpleNamespace(vocab_size=128, token_text=text, ids=ids), "line", 0, ())


@pytest.fixture(scope="module")
def inputs(params):
    rng = np.random.default_rng(0)
    token = np.concatenate([np.ones((ROWS, 1), int), rng.integers(3, 12, (ROWS, 3))], 1)
    length, keys = np.array([1, 4, 3, 2, 4, 2]), jax.random.split(jax.random.key(3), ROWS)
    return params, token, length, np.arange(ROWS), keys


def searched(name, network, ends, inputs, sampler=SAMPLER, samples=4, budget=6, layout=None):
    settings = ExpertSettings(SEARCH, sampler, GuessConfig(samples))
    expert = experts.build(name, network, settings, ends)
    world, layout = TokenWorld(*inputs[1:3]), layout or one_device()
    params, *rows = jax.tree.map(jnp.asarray, inputs)
    given = jax.device_put(params, layout.everywhere), *jax.device_put(rows, layout.search_rows)
    found = returned(driven(expert, layout)(*given, budget, None, world.ask))
    return jax.device_get(found), world


@pytest.mark.parametrize("name", ["mcts", "mcts_mixed", "best_first", "guess", "samples"])
def test_candidates_are_what_reading_whole_texts_says(name, network, ends, inputs, ids, read_whole):
    tree, world = searched(name, network, ends, inputs)
    params, token, length = inputs[:3]
    texts, written, at, depths = [], [], [], []
    for b, n, k in zip(*np.nonzero(tree.candidates.valid & tree.live[..., None]), strict=True):
        way = [*path(tree, b, n), (n, k)]
        own = [t for a in way for t in step_tokens(tree, b, *a)]
        heard = [h for a in way for h in step_observed(tree, b, *a)]
        texts.append([*token[b, : length[b]].tolist(), *own])
        last = len(step_tokens(tree, b, n, k))
        written.append([False] * (len(texts[-1]) - last) + [not h for h in heard[-last:]])
        at.append((b, n, k))
        depths.append(len(ends.split(own, heard)))
        assert replayed(token[b, : length[b]].tolist(), ends.split(own, heard)) == texts[-1]
    assert len(texts) > 20 and {1, 2, 3} <= set(depths)
    width = max(map(len, texts))
    read = read_whole(network, params, texts, ids, width)
    log_pi = [
        sum(p[: len(w)][w]) for p, w in zip(read.log_prob, map(np.array, written), strict=True)
    ]
    end = np.array([len(text) - 1 for text in texts])
    at = tuple(np.array(at).T)
    np.testing.assert_allclose(tree.candidates.log_pi[at], log_pi, atol=1e-4)
    value = read.value[np.arange(len(texts)), end]
    np.testing.assert_allclose(tree.candidates.model_value[at], value, atol=1e-4)
    np.testing.assert_allclose(
        tree.candidates.token_value[(*at, tree.candidates.length[at] - 1)], value, atol=1e-4
    )


def replayed(prompt, steps):
    """The text that the world makes of the network's part of steps; every step but the last goes
    on.
    """
    text = list(prompt)
    for number, step in enumerate(steps, 1):
        for size in range(1, len(step) + 1):  # the network's part is followed by what is said to it
            status, words = says([*text, *step[:size]])
            if list(step[size:]) == words and (number == len(steps) or status == GO_ON):
                break
        else:
            raise AssertionError("the world did not say this")
        text += step
    return text


def test_an_answer_is_read_alike_in_one_block_and_in_several(network, ends, inputs, monkeypatch):
    for name in ("mcts", "guess"):
        whole, _ = searched(name, network, ends, inputs)
        assert (whole.candidates.observed.sum(-1) == LONGEST).any()
        with monkeypatch.context() as patch:
            patch.setattr("expert_iter.search.drafts._BLOCK", 1)
            in_blocks, _ = searched(name, network, ends, inputs)
        for x, y in zip(*map(jax.tree.leaves, (whole, in_blocks)), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["mcts", "beam"])
def test_illegal_steps_are_lost_and_what_is_over_is_finished(name, network, ends, inputs):
    tree, world = searched(name, network, ends, inputs)
    statuses = []
    for b, n, k in zip(*np.nonzero(tree.candidates.valid & tree.live[..., None]), strict=True):
        way = [*path(tree, b, n), (n, k)]
        text = [*world.prompts[b], *(t for a in way for t in step_tokens(tree, b, *a))]
        heard = sum(step_observed(tree, b, n, k))
        status, words = says(text[: len(text) - heard])
        assert text[len(text) - heard :] == words
        statuses.append(status)
        assert tree.candidates.finished[b, n, k] == (status == OVER)
        if status == ILLEGAL or (status == GO_ON and len(way) == SEARCH.max_steps):
            assert tree.value[b, n, k] == 0 and tree.child[b, n, k] < 0
        elif status == OVER:
            assert tree.value[b, n, k] == pytest.approx(tree.candidates.model_value[b, n, k])
            assert tree.child[b, n, k] < 0
    assert min(np.bincount(statuses)) > 5


def test_the_bill_counts_what_the_world_says_as_read(network, ends, inputs):
    tree, _ = searched("mcts", network, ends, inputs)
    c, live = tree.candidates, tree.live[..., None]
    heard = (c.observed.sum(-1) * c.valid * live).sum((1, 2))
    written = (c.written * c.count * live).sum((1, 2))
    steps = (np.take_along_axis(tree.child >= 0, tree.child.argsort(-1), -1) & live).sum((1, 2))
    pages = [
        sum(len(step_tokens(tree, b, tree.parent[b, n], tree.action[b, n])) for n in own)
        for b, own in ((b, np.flatnonzero(tree.live[b])[1:]) for b in range(ROWS))
    ]
    np.testing.assert_allclose(tree.bill.generated, written)
    np.testing.assert_allclose(tree.bill.prefilled, inputs[2] + heard + pages)
    assert (steps > 0).all() and heard.sum() > 0


def test_rollouts_go_on_behind_candidates_and_are_billed_like_them(network, ends, inputs):
    tree, _ = searched("mcts_mixed", network, ends, inputs)
    c, K = tree.candidates, SEARCH.width
    there = c.valid & tree.live[..., None]
    generated, read = np.zeros(ROWS), inputs[2].astype(float)
    for b, n, k in zip(*np.nonzero(there[..., :K]), strict=True):
        generated[b] += c.written[b, n, k]
        read[b] += c.length[b, n, k] - c.written[b, n, k]
    for b, n in zip(*np.nonzero(tree.live), strict=True):
        read[b] += c.length[b, tree.parent[b, n], tree.action[b, n]] if n else 0
    statuses = set()
    for b, n, k in zip(*np.nonzero(there[..., K:]), strict=True):
        step, rollout = step_tokens(tree, b, n, k), step_tokens(tree, b, n, K + k)
        assert rollout[: len(step)] == step and len(rollout) > len(step)
        assert not c.finished[b, n, k], "nothing is written behind an end"
        rest = c.length[b, n, K + k] - len(step)
        written = c.written[b, n, K + k] - c.written[b, n, k]
        generated[b] += written
        read[b] += len(step) + rest - written
        statuses.add(bool(c.finished[b, n, K + k]))
        value = tree.candidates.model_value[b, n, K + k] * c.finished[b, n, K + k]
        assert tree.value[b, n, K + k] == pytest.approx(value)
    assert statuses == {False, True}
    np.testing.assert_allclose(tree.bill.generated, generated)
    np.testing.assert_allclose(tree.bill.prefilled, read)


def test_a_row_does_not_depend_on_its_neighbours(network, ends, inputs):
    for name in ("mcts", "guess"):
        together, _ = searched(name, network, ends, inputs)
        params, token, length, _, keys = inputs
        rows = np.array([4, 1])
        alone, _ = searched(
            name, network, ends, (params, token[rows], length[rows], np.arange(2), keys[rows])
        )
        for x, y in zip(
            *map(jax.tree.leaves, (together._replace(bill=()), alone._replace(bill=()))),
            strict=True,
        ):
            np.testing.assert_allclose(x[rows], y, atol=1e-5)


@pytest.mark.parametrize("name", ["mcts", "mcts_mixed", "guess"])
def test_devices_that_share_the_rows_find_the_same(name, network, ends, inputs):
    on_one, _ = searched(name, network, ends, inputs)
    on_six, _ = searched(name, network, ends, inputs, layout=Layout(MeshConfig(data=ROWS)))
    for one, other in zip(
        *map(jax.tree.leaves, (on_one._replace(bill=()), on_six._replace(bill=()))), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-5)


# Two likely tokens at each place, so that all texts can be told.
NARROW = dataclasses.replace(SAMPLER, top_k=2)


def all_texts(network, params, prompt, ids, read_whole):
    """Each text with what the world says, and its probability under the sampler."""

    @functools.cache
    def chances(text):
        logits = read_whole(network, params, [text], ids, 16).logits[0, len(text) - 1]
        best = np.argsort(logits)[-2:]
        odds = np.exp((logits[best] - logits[best].max()) / NARROW.temperature)
        return list(zip(best.tolist(), (odds / odds.sum()).tolist(), strict=True))

    found = {}

    def write(text, chance, steps, tokens):
        if tokens and (text[-1] in (ids.newline, ids.eos) or tokens == SEARCH.max_step_tokens):
            status, words = says(text)
            text = (*text, *words)
            if status == GO_ON and steps + 1 < SEARCH.max_steps:
                write(text, chance, steps + 1, 0)
            else:
                found[text[len(prompt) :]] = chance
            return
        for token, share in chances(text):
            write((*text, token), chance * share, steps, tokens + 1)

    write(tuple(prompt), 1.0, 0, 0)
    return found


def test_draws_without_replacement_find_every_text_once(network, ends, inputs, ids, read_whole):
    tree, world = searched("guess", network, ends, inputs, NARROW, samples=64, budget=64)
    sizes = []
    for b in range(ROWS):
        expected = all_texts(network, inputs[0], world.prompts[b], ids, read_whole)
        c = jax.tree.map(lambda x, b=b: x[b, 0], tree.candidates)
        found = {
            tuple(c.token[k, : c.length[k]].tolist()): np.exp(c.log_beta[k])
            for k in np.flatnonzero(c.valid)
        }
        assert found == pytest.approx(expected, abs=1e-5)
        assert c.valid.sum() == len(found)
        sizes.append(len(found))
    assert max(sizes) > 12


def test_few_draws_without_replacement_are_as_likely_as_they_should_be(
    network, ends, inputs, ids, read_whole
):
    rows, b = 3000, 4  # a problem with many texts
    params, token, length = inputs[:3]
    many = (
        params,
        np.repeat(token[b : b + 1], rows, 0),
        np.repeat(length[b : b + 1], rows),
        np.arange(rows),
        jax.random.split(jax.random.key(8), rows),
    )
    tree, world = searched("guess", network, ends, many, NARROW, samples=2, budget=2)
    chance = all_texts(network, params, world.prompts[0], ids, read_whole)
    assert len(chance) > 5
    drawn = dict.fromkeys(chance, 0)
    c = tree.candidates
    for b, k in zip(*np.nonzero(c.valid[:, 0]), strict=True):
        drawn[tuple(c.token[b, 0, k, : c.length[b, 0, k]].tolist())] += 1
    # The chance to be the first of two draws, or the second.
    either = {
        text: p + sum(q * p / (1 - q) for other, q in chance.items() if other != text)
        for text, p in chance.items()
    }
    for text, p in either.items():
        deviation = np.sqrt(p * (1 - p) / rows)
        assert drawn[text] / rows == pytest.approx(p, abs=4.5 * deviation + 1e-9)
