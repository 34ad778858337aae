import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from expert_iter.learn import token_log_probs as lib
from expert_iter.learn.loss import loss
from expert_iter.learn.packing import Packer
from expert_iter.learn.token_log_probs import token_log_probs
from expert_iter.model.transformer import Network
from expert_iter.model.transformer_config import TransformerConfig
from expert_iter.pod.mesh import Layout, MeshConfig
from tests.learn.trees import COLUMNS
from tests.objectives import objectives

CONFIG = TransformerConfig(
    num_layers=1, width=16, num_heads=2, num_kv_heads=1, head_dim=8, mlp_width=32
)
ROWS, TOKENS, VOCAB = 8, 4, 600  # neither 600 nor its shards are a multiple of 128
MESHES = {
    "one device": None,
    "fsdp and tensor": dict(data=1, fsdp=2, tensor=4),
    "all axes": dict(data=2, fsdp=2, tensor=2),
    "tensor that does not divide the vocabulary": dict(data=1, fsdp=1, tensor=7),
}


@pytest.fixture
def chunked(monkeypatch):
    """Chunks of the smallest size, whatever the logits'."""
    monkeypatch.setattr(lib, "AT_ONCE", 0)
    monkeypatch.setattr(lib, "CHUNK", 1)


def given(network, dtype="float32"):
    """Parameters, hidden states, tokens and weights of their log-probabilities."""
    keys = jax.random.split(jax.random.key(0), 5)
    params = network.init(keys[0])
    noise = lambda x: x + jax.random.normal(keys[1], x.shape)  # noqa: E731
    hidden = jax.random.normal(keys[2], (ROWS, TOKENS, network.config.width), dtype)
    token = jax.random.randint(keys[3], (ROWS, TOKENS), 0, network.vocab_size)
    return jax.tree.map(noise, params), hidden, token, jax.random.normal(keys[4], token.shape)


def gradients(network, where, params, hidden, token, weight):
    """log π, and of their weighed sum the gradients by the head and by hidden states."""

    def total(params, hidden):
        found = token_log_probs(network, params, hidden, token, where)
        return jnp.sum(weight * found), found

    both = jax.value_and_grad(total, argnums=(0, 1), has_aux=True)
    (_, found), slopes = jax.jit(both)(params, hidden)
    return found, slopes


@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize("cap", [0.0, 3.0])
def test_chunks_and_all_at_once_are_the_same(chunked, monkeypatch, mesh, cap):
    network = Network(dataclasses.replace(CONFIG, logit_softcap=cap), VOCAB)
    made, shape = given(network), MESHES[mesh]
    where = (
        Layout(MeshConfig(**shape), jax.devices()[: np.prod(list(shape.values()))]).rows
        if shape
        else None
    )
    found, slopes = gradients(network, where, *made)
    assert "while" in jax.jit(functools.partial(gradients, network, where)).lower(*made).as_text()
    monkeypatch.setattr(lib, "AT_ONCE", 1 << 30)
    expected, expected_slopes = gradients(network, None, *made)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
    jax.tree.map(close, slopes, expected_slopes)


def test_log_probs_and_their_gradient_are_those_of_float64(chunked):
    network = Network(CONFIG, VOCAB)
    params, hidden, token, weight = given(network)
    found, (_, slope) = gradients(network, None, params, hidden, token, weight)
    head, h = np.float64(network.output_embedding(params)), np.float64(hidden)
    chance = np.exp(h @ head.T)
    chance /= chance.sum(axis=-1, keepdims=True)
    own = np.take_along_axis(chance, np.asarray(token)[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(found, np.log(own), rtol=1e-4, atol=1e-5)
    expected = np.float64(weight)[..., None] * (head[np.asarray(token)] - chance @ head)
    np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-4)


def test_in_bfloat16_chunks_differ_by_rounding(chunked, monkeypatch):
    network = Network(CONFIG, VOCAB)
    made = given(network, "bfloat16")
    found, slopes = gradients(network, None, *made)
    monkeypatch.setattr(lib, "AT_ONCE", 1 << 30)
    expected, expected_slopes = gradients(network, None, *made)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
    for one, other in zip(*map(jax.tree.leaves, (slopes, expected_slopes)), strict=True):
        one, other = np.float32(one), np.float32(other)
        assert np.linalg.norm(one - other) <= 0.01 * np.linalg.norm(other)


@pytest.mark.parametrize("policy", ["improved", "set_normalised"])
def test_a_batch_has_the_same_loss_and_gradient(chunked, monkeypatch, random_tree, policy):
    network, rng = Network(CONFIG, 300), np.random.default_rng(0)
    batch, taken = Packer(2, 40, 16, COLUMNS).pack([random_tree(rng, steps=6) for _ in range(3)])
    params, made = given(network)[0], objectives(policy, "value")
    of = lambda: jax.jit(  # noqa: E731
        jax.value_and_grad(functools.partial(loss, network, objectives=made), has_aux=True)
    )(params, batch)
    found = of()
    monkeypatch.setattr(lib, "AT_ONCE", 1 << 30)
    assert taken
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    jax.tree.map(close, found, of())


def test_no_logits_of_the_whole_vocabulary_are_there(chunked):
    network = Network(CONFIG, 1024)
    made = given(network)
    program = jax.jit(functools.partial(gradients, network, None)).lower(*made).compile().as_text()
    assert re.search(rf"f32\[(1,)?{ROWS},{TOKENS},128\]", program)
    assert not re.search(rf"\[(1,)?({ROWS},{TOKENS}|{ROWS * TOKENS}),1024\]", program)


def test_small_vocabularies_are_read_at_once():
    network = Network(CONFIG, VOCAB)
    assert (
        "while"
        not in jax.jit(functools.partial(gradients, network, None)).lower(*given(network)).as_text()
    )
