"""Reading a text piece by piece gives what reading it at once gives."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from expert_iter.model import state as state_lib
from expert_iter.model.state import State
from expert_iter.model.transformer import KV, Network
from expert_iter.model.transformer_config import TransformerConfig

VOCAB = 11
PLAIN = TransformerConfig(
    num_layers=2, width=16, num_heads=4, num_kv_heads=2, head_dim=4, mlp_width=24
)
CONFIGS = {
    "plain": PLAIN,
    "window": dataclasses.replace(PLAIN, sliding_window=4, global_every=2, attention_softcap=2.0),
}


read_prompt = jax.jit(state_lib.read_prompt, static_argnums=0)
read_step = jax.jit(state_lib.read_step, static_argnums=0)


@jax.jit
def after(state: State, step: State) -> State:
    """The prefix and its step as one prefix."""
    return State(
        KV(*(jnp.concatenate(pair, axis=2) for pair in zip(state.kv, step.kv, strict=True))),
        jnp.concatenate([state.position_BxC, step.position_BxC], axis=1),
        jnp.concatenate([state.mask_BxC, step.mask_BxC], axis=1),
        step.hidden_BxD,
        step.next_position_B,
    )


def pad(texts, width, rubbish):
    """Texts padded on the right with random tokens, and their lengths."""
    token = rubbish.integers(0, VOCAB, (len(texts), width))
    for row, text in enumerate(texts):
        token[row, : len(text)] = text
    return token, np.array([len(text) for text in texts])


@pytest.fixture(scope="module", params=CONFIGS)
def network(request):
    return Network(CONFIGS[request.param], VOCAB)


@pytest.fixture(scope="module")
def params(network, random_params):
    return random_params(network)


def test_a_prompt_ends_at_its_last_real_token(network, params):
    rng = np.random.default_rng(0)
    texts = [rng.integers(0, VOCAB, n) for n in (1, 7, 4)]
    state = read_prompt(network, params, *pad(texts, 7, rng))
    np.testing.assert_array_equal(state.next_position_B, [1, 7, 4])
    np.testing.assert_array_equal(state.mask_BxC.sum(1), [1, 7, 4])
    for row, text in enumerate(texts):
        n = len(text)
        alone = read_prompt(network, params, text[None], np.array([n]))
        np.testing.assert_allclose(state.hidden_BxD[row], alone.hidden_BxD[0], atol=1e-5)
        for cached, expected in zip(state.kv, alone.kv, strict=True):
            np.testing.assert_allclose(cached[:, row, :n], expected[:, 0], atol=1e-5)
        np.testing.assert_array_equal(state.position_BxC[row, :n], range(n))


@pytest.mark.parametrize("split", ["steps of unequal length", "token by token"])
def test_steps_equal_the_whole_text(network, params, split):
    """Rows of different lengths at once, each piece padded with rubbish."""
    rng = np.random.default_rng(1)
    if split == "token by token":
        lengths = np.array([[3, 1, 1, 1], [1, 1, 1, 1], [2, 1, 1, 1]])
    else:
        lengths = np.array([[3, 1, 4, 2], [1, 5, 1, 3], [4, 2, 2, 1]])
    texts = [rng.integers(0, VOCAB, n) for n in lengths.sum(1)]
    width = 1 if split == "token by token" else 6
    bounds = np.pad(np.cumsum(lengths, axis=1), ((0, 0), (1, 0)))

    state = None
    for piece in range(lengths.shape[1]):
        parts = [t[b[piece] : b[piece + 1]] for t, b in zip(texts, bounds, strict=True)]
        step = read_step(network, params, state, *pad(parts, width if piece else 6, rng))
        state = step if state is None else after(state, step)
        whole = [t[: b[piece + 1]] for t, b in zip(texts, bounds, strict=True)]
        expected = read_prompt(network, params, *pad(whole, 12, rng))
        np.testing.assert_allclose(state.hidden_BxD, expected.hidden_BxD, atol=1e-4)
        np.testing.assert_array_equal(state.next_position_B, expected.next_position_B)
        for row in range(len(texts)):
            mine, other = np.asarray(state.mask_BxC[row]), np.asarray(expected.mask_BxC[row])
            np.testing.assert_array_equal(
                state.position_BxC[row, mine], expected.position_BxC[row, other]
            )
            for cached, again in zip(state.kv, expected.kv, strict=True):
                np.testing.assert_allclose(
                    np.asarray(cached)[:, row, mine], np.asarray(again)[:, row, other], atol=1e-4
                )


def test_the_order_of_cached_tokens_does_not_matter(network, params):
    rng = np.random.default_rng(2)
    prompt = read_prompt(network, params, *pad([rng.integers(0, VOCAB, n) for n in (6, 4)], 6, rng))
    order = rng.permutation(6)
    shuffled = prompt._replace(
        kv=jax.tree.map(lambda x: x[:, :, order], prompt.kv),
        position_BxC=prompt.position_BxC[:, order],
        mask_BxC=prompt.mask_BxC[:, order],
    )
    step = pad([rng.integers(0, VOCAB, n) for n in (1, 3)], 3, rng)
    straight, other = (read_step(network, params, s, *step) for s in (prompt, shuffled))
    np.testing.assert_allclose(straight.hidden_BxD, other.hidden_BxD, atol=1e-5)


def test_rows_do_not_see_each_other(network, params):
    rng = np.random.default_rng(3)
    texts = [rng.integers(0, VOCAB, n) for n in (5, 3, 2)]
    token, length = pad(texts, 5, rng)
    order = np.array([2, 0, 1])
    straight = read_prompt(network, params, token, length)
    turned = read_prompt(network, params, token[order], length[order])
    np.testing.assert_allclose(np.asarray(straight.hidden_BxD)[order], turned.hidden_BxD, atol=1e-6)
