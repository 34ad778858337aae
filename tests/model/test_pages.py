"""Chains of pages against reading the whole text again."""

import jax
import numpy as np
import pytest

from expert_iter.model import pages, state
from expert_iter.model.pages import Chain, empty_pool
from expert_iter.model.transformer import Network
from expert_iter.model.transformer_config import TransformerConfig

VOCAB, PAGE_TOKENS, DEPTH, PAGES = 11, 4, 3, 8
CONFIG = TransformerConfig(
    num_layers=2, width=16, num_heads=4, num_kv_heads=2, head_dim=4, mlp_width=24, sliding_window=6
)
PROMPT_LENGTH = np.array([3, 1, 5])
# Where each row's steps are kept: its chain of pages and their lengths (row 2: the prompt alone).
CHAINS = [([5, 2, 7], [4, 1, 3]), ([1, 4], [2, 4]), ([], [])]

read_prompt = jax.jit(state.read_prompt, static_argnums=0)
read_step = jax.jit(state.read_step, static_argnums=0)
read_chain, write_page = jax.jit(pages.read_chain), jax.jit(pages.write_page)


@pytest.fixture(scope="module")
def network():
    return Network(CONFIG, VOCAB)


@pytest.fixture(scope="module")
def params(network, random_params):
    return random_params(network)


def padded(texts, width, rng):
    token = rng.integers(0, VOCAB, (len(texts), width))
    for row, text in enumerate(texts):
        token[row, : len(text)] = text
    return token, np.array([len(text) for text in texts])


def chain_of(depth):
    """The first `depth` pages of each row's chain, or as many as it has."""
    page, length = np.full((3, DEPTH), -1), np.zeros((3, DEPTH), int)
    for row, (numbers, lengths) in enumerate(CHAINS):
        n = min(depth, len(numbers))
        page[row, :n], length[row, :n] = numbers[:n], lengths[:n]
    return Chain(page, length)


def mixed_chain(depths):
    """As `chain_of`, each row with a depth of its own."""
    every = [chain_of(depth) for depth in depths]
    return Chain(*(np.stack([c[i][row] for row, c in enumerate(every)]) for i in range(2)))


@pytest.fixture(scope="module")
def paged(network, params):
    """Steps written into a pool that was full of rubbish, in no order; and each row's texts."""
    rng = np.random.default_rng(0)
    prompt_texts = [rng.integers(0, VOCAB, n) for n in PROMPT_LENGTH]
    steps = [[rng.integers(0, VOCAB, n) for n in lengths] for _, lengths in CHAINS]
    prompt = read_prompt(network, params, *padded(prompt_texts, 6, rng))
    pool = jax.tree.map(lambda x: x + 7.0, empty_pool(network, 3, PAGES, PAGE_TOKENS))
    for depth in range(DEPTH):
        before = read_chain(pool, prompt, chain_of(depth))
        texts = [s[depth] if depth < len(s) else [] for s in steps]
        after = read_step(network, params, before, *padded(texts, PAGE_TOKENS, rng))
        for row, (numbers, _) in enumerate(CHAINS):
            if depth < len(numbers):
                written = write_page(pool, numbers[depth], after.kv)
                pool = jax.tree.map(
                    lambda new, old, row=row: old.at[:, row].set(new[:, row]), written, pool
                )
    return prompt, pool, prompt_texts, steps


def test_pool_has_a_page_for_each_step(network):
    pool = empty_pool(network, 3, PAGES, PAGE_TOKENS)
    assert pool.k.shape == pool.v.shape == (2, 3, PAGES, PAGE_TOKENS, 2, 4)


def test_a_page_is_written_where_it_belongs_in_every_row(network):
    pool = empty_pool(network, 3, PAGES, PAGE_TOKENS)
    rng = np.random.default_rng(1)
    kv = jax.tree.map(lambda x: rng.normal(size=x[:, :, 0].shape).astype(np.float32), pool)
    for page in (0, 3, PAGES - 1):
        written = write_page(pool, page, kv)
        for new, old, own in zip(written, pool, kv, strict=True):
            np.testing.assert_array_equal(new[:, :, page], own)
            others = np.arange(PAGES) != page
            np.testing.assert_array_equal(new[:, :, others], old[:, :, others])


@pytest.mark.parametrize("depth", range(DEPTH + 1))
def test_a_chain_equals_reading_the_whole_text_again(paged, network, params, depth):
    """Rows at different depths; then one step more, and its hidden state."""
    prompt, pool, prompt_texts, steps = paged
    chained = read_chain(pool, prompt, chain_of(depth))
    rng = np.random.default_rng(2)
    texts = [np.concatenate([p, *s[:depth]]) for p, s in zip(prompt_texts, steps, strict=True)]
    whole = read_prompt(network, params, *padded(texts, 17, rng))
    np.testing.assert_array_equal(chained.next_position_B, [len(text) for text in texts])
    for row, text in enumerate(texts):
        mine = np.asarray(chained.mask_BxC[row])
        np.testing.assert_array_equal(chained.position_BxC[row, mine], range(len(text)))
        for kept, again in zip(chained.kv, whole.kv, strict=True):
            np.testing.assert_allclose(
                np.asarray(kept)[:, row, mine], again[:, row, : len(text)], atol=1e-4
            )

    more = [rng.integers(0, VOCAB, n) for n in (2, 4, 1)]
    step = read_step(network, params, chained, *padded(more, PAGE_TOKENS, rng))
    longer = [np.concatenate(pair) for pair in zip(texts, more, strict=True)]
    again = read_prompt(network, params, *padded(longer, 17, rng))
    np.testing.assert_allclose(step.hidden_BxD, again.hidden_BxD, atol=1e-4)
    np.testing.assert_array_equal(step.next_position_B, again.next_position_B)


def test_a_context_with_a_step_equals_the_longer_chain(paged, network, params):
    """Each row at a depth of its own."""
    prompt, pool, _, steps = paged
    depths, rng = [1, 0, 0], np.random.default_rng(3)
    before = read_chain(pool, prompt, mixed_chain(depths))
    texts = [s[d] if d < len(s) else [] for d, s in zip(depths, steps, strict=True)]
    after = read_step(network, params, before, *padded(texts, PAGE_TOKENS, rng))
    place = prompt.mask_BxC.shape[1] + np.array(depths) * PAGE_TOKENS
    joined = jax.jit(pages.with_step)(before, after, place)
    longer = read_chain(pool, prompt, mixed_chain([d + 1 for d in depths]))
    np.testing.assert_array_equal(joined.hidden_BxD, after.hidden_BxD)
    for name in ("mask_BxC", "next_position_B"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(longer, name))
    mask = np.asarray(joined.mask_BxC)
    np.testing.assert_array_equal(joined.position_BxC[mask], longer.position_BxC[mask])
    for mine, theirs in zip(joined.kv, longer.kv, strict=True):
        np.testing.assert_allclose(mine[:, mask], theirs[:, mask], atol=1e-5)
