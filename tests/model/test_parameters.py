"""The table of parameters against networks, and against optimizer states that mirror them."""

import dataclasses

import jax
import optax
import pytest

from expert_iter.model.parameters import (
    TABLE,
    Parameter,
    is_adapter,
    is_head,
    is_stacked,
    matrices,
    named,
    nested,
    parameter,
    parameter_at,
)
from expert_iter.model.transformer import Network
from expert_iter.model.transformer_config import TransformerConfig

SMALL = TransformerConfig(
    num_layers=3, width=8, num_heads=2, num_kv_heads=1, head_dim=4, mlp_width=12
)
FULL = dataclasses.replace(
    SMALL, qkv_bias=True, qk_norm=True, post_norms=True, tie_embedding=False, lora_rank=2
)
HEADS = "value", "progress"
SIZES = {"vocab": (10,), "width": (8,), "heads": (8, 4), "mlp": (12,)}


@pytest.fixture(scope="module")
def params():
    return Network(FULL, 10, HEADS).abstract_params()


def test_the_table_names_the_parameters_of_a_network_with_every_option(params):
    others = {name for name in named(params) if not is_adapter(name) and not is_head(name)}
    assert others == TABLE.keys()


def test_axes_have_the_sizes_of_the_dimensions_that_they_name(params):
    for name, leaf in named(params).items():
        axes = parameter(name).axes
        shape = leaf.shape[1:] if is_stacked(name) else leaf.shape
        assert not axes or len(axes) == len(shape), name
        for axis, size in zip(axes, shape, strict=False):
            assert size in SIZES[axis], name


def test_layers_are_stacked_below_blocks_alone(params):
    for name, leaf in named(params).items():
        assert is_stacked(name) == (leaf.shape[:1] == (SMALL.num_layers,)), name


def test_scalar_heads_are_whole_and_neither_decayed_nor_orthogonalised(params):
    heads = {name for name in named(params) if is_head(name)}
    assert heads == {"value_weight", "value_bias", "progress_weight", "progress_bias"}
    for name in heads:
        assert parameter(name) == Parameter(axes=(), is_matrix=False, is_decayed=False)


def test_adapters_stand_beside_matrices_and_are_none_themselves(params):
    beside = {name.rpartition("_lora.")[0] for name in named(params) if is_adapter(name)}
    assert beside == {name for name, entry in TABLE.items() if entry.is_matrix}
    assert matrices("blocks") == ["gate", "up", "down"]
    for name in filter(is_adapter, named(params)):
        assert not parameter(name).is_matrix and not parameter(name).axes


def test_paths_into_an_optimizer_state_lead_to_the_parameters(params):
    labels = jax.tree.map(lambda _: "one", params)
    optimizer = optax.partition({"one": optax.adam(1e-3)}, labels)
    state = jax.eval_shape(optimizer.init, params)
    found = [parameter_at(path) for path, _ in jax.tree_util.tree_leaves_with_path(state)]
    entries = [parameter(name) for name in named(params)]
    # Adam's count of updates, first moments, second moments.
    assert found == [None, *entries, *entries]


def test_a_path_to_an_unknown_name_is_refused():
    path, _ = jax.tree_util.tree_leaves_with_path({"attention": {"q": 0}})[0]  # without "blocks"
    with pytest.raises(KeyError, match="attention"):
        parameter_at(path)


def test_names_and_back_is_the_tree(params):
    assert nested(named(params)) == params
    assert (
        named(params)["blocks.attention.q_lora.a"] is params["blocks"]["attention"]["q_lora"]["a"]
    )


def test_other_names_are_no_parameters():
    assert parameter("blocks.attention.w") is None and parameter("w") is None
    assert parameter("blocks.attention.value_weight") is None
