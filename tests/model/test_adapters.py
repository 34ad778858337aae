"""Adapters beside frozen matrices: what they compute, and what is trained."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from expert_iter.learn.learner import Learner, LearnerConfig
from expert_iter.learn.lessons import columns_of
from expert_iter.learn.optimizer import OptimizerConfig
from expert_iter.learn.step_tree import StepTreeBuilder
from expert_iter.model import adapters
from expert_iter.model.transformer import Network, causal_mask
from expert_iter.model.transformer_config import TransformerConfig
from expert_iter.pod.mesh import one_device
from tests.objectives import objectives

SHAPE = dict(num_layers=2, width=16, num_heads=2, num_kv_heads=1, head_dim=8, mlp_width=24)
PLAIN = TransformerConfig(**SHAPE)
ADAPTED = dataclasses.replace(PLAIN, lora_rank=3, lora_alpha=5.0)
TOKENS = jnp.array([[1, 5, 7, 3, 9]])


@pytest.fixture(scope="module")
def network():
    return Network(ADAPTED, 12)


@pytest.fixture(scope="module")
def noisy(network, random_params):
    """Parameters whose adapters do something."""
    return random_params(network)


def logits(network, params):
    length = TOKENS.shape[1]
    mask = causal_mask(jnp.ones((1, length), bool))
    hidden, _ = network.hidden(params, TOKENS, jnp.arange(length)[None], mask)
    return network.logits(params, hidden)


def names(tree):
    paths = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in paths}


def test_a_new_adapter_adds_nothing():
    plain, adapted = Network(PLAIN, 12), Network(ADAPTED, 12)
    base = plain.init(jax.random.key(0))
    joined = adapters.join(adapters.fresh(adapted, jax.random.key(1)), base)
    assert names(joined) == names(adapted.abstract_params())
    np.testing.assert_array_equal(logits(adapted, joined), logits(plain, base))


def test_an_adapter_adds_its_product_by_hand(network, noisy):
    """One matrix product of one layer, against numpy."""
    merged = adapters.merge(noisy, ADAPTED)
    attention, layer = noisy["blocks"]["attention"], 1
    a, b = (np.asarray(attention["v_lora"][name][layer], np.float64) for name in "ab")
    wanted = np.asarray(attention["v"][layer]) + a @ b * 5.0 / 3
    np.testing.assert_allclose(merged["blocks"]["attention"]["v"][layer], wanted, rtol=1e-5)


def test_merged_parameters_are_the_same_network_without_adapters(network, noisy):
    merged = adapters.merge(noisy, ADAPTED)
    plain = Network(PLAIN, 12)
    assert names(merged) == names(plain.abstract_params())
    np.testing.assert_allclose(logits(plain, merged), logits(network, noisy), atol=1e-4)
    assert np.abs(logits(plain, noisy_without(noisy)) - logits(network, noisy)).max() > 1e-2


def noisy_without(noisy):
    trained, frozen = adapters.split(noisy, ADAPTED)
    return adapters.join({k: v for k, v in trained.items() if k.startswith("value")}, frozen)


def test_split_trains_adapters_and_the_value_head_alone(noisy):
    trained, frozen = adapters.split(noisy, ADAPTED)
    assert {name.split(".")[0] for name in names(trained)} == {
        "blocks",
        "value_weight",
        "value_bias",
    }
    assert all("_lora" in name or name.startswith("value_") for name in names(trained))
    assert not any("_lora" in name or name.startswith("value_") for name in names(frozen))
    assert len([name for name in names(trained) if name.endswith("_lora.a")]) == 7
    jax.tree.map(np.testing.assert_array_equal, adapters.join(trained, frozen), noisy)
    assert adapters.split(noisy, PLAIN) == (noisy, {})


def test_a_head_of_an_objectives_own_is_trained_beside_adapters(random_params):
    network = Network(ADAPTED, 12, ("value", "progress"))
    params = random_params(network)
    trained, frozen = adapters.split(params, ADAPTED)
    assert {name for name in names(trained) if "progress" in name} == {
        "progress_weight",
        "progress_bias",
    }
    assert not any("progress" in name for name in names(frozen))
    assert not any("_bias" in name for name in names(adapters.fresh(network, jax.random.key(0))))
    assert names(adapters.merge(params, ADAPTED)) == names(
        Network(PLAIN, 12, ("value", "progress")).abstract_params()
    )


def test_an_update_moves_what_is_trained_and_nothing_else(network, noisy):
    config = LearnerConfig(rows=1, row_tokens=16, row_steps=4)
    made = objectives("improved", "value")
    learner = Learner(
        network, config, made, OptimizerConfig(warmup_updates=0), 10, 10, one_device()
    )
    builder = StepTreeBuilder([1, 5], columns_of(made))
    step = builder.add(0, (7, 3, 2))
    for column in ("improved.weight", "value.target", "value.weight"):
        builder.give([step], column, 1.0)
    batch, _ = learner.packer.pack([builder.build()])
    state = learner.init(jax.tree.map(jnp.copy, noisy))
    losses = []
    for _ in range(5):
        state, parts = learner.update(state, batch)
        losses.append(float(parts["improved_loss"]))
    jax.tree.map(np.testing.assert_array_equal, state.frozen, adapters.split(noisy, ADAPTED)[1])
    moved = jax.tree.map(
        lambda now, before: bool((now != before).any()),
        state.trained,
        adapters.split(noisy, ADAPTED)[0],
    )
    assert all(jax.tree.leaves(moved)), moved
    assert losses[-1] < losses[0]
    kept = sum(x.size for x in jax.tree.leaves(state.optimizer))
    assert kept < 3 * sum(x.size for x in jax.tree.leaves(state.trained))
