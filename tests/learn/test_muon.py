import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from optax import contrib

from expert_iter.learn.muon import muon
from expert_iter.model.parameters import named
from expert_iter.pod.mesh import Layout, MeshConfig, put

# Inputs and outputs of three layers' matrices: some as many as others, some lying, some standing.
ATTENTION = {"q": (12, 12), "k": (12, 8), "out": (12, 12)}
MLP = {"up": (12, 20), "down": (20, 12)}
LAYERS, RATE, DECAY = 3, 0.1, 0.3


def some(seed: int) -> dict:
    rng = np.random.default_rng(seed)
    attention, mlp = (
        {name: rng.normal(size=(LAYERS, *sides)).astype(np.float32) for name, sides in part.items()}
        for part in (ATTENTION, MLP)
    )
    return {"blocks": {"attention": attention, **mlp}}


def rate(step):
    return RATE / (1 + step)


def changes(optimizer, layout: Layout, updates: int = 4) -> list[dict]:
    """Of so many updates, each with a gradient of its own; where they lie is the layout's."""
    params = put(some(0), layout.learning(some(0)))
    state, update, found = optimizer.init(params), jax.jit(optimizer.update), []
    for n in range(updates):
        change, state = update(put(some(1 + n), layout.learning(params)), state, params)
        params = jax.tree.map(jnp.add, params, change)
        found.append(jax.tree.map(np.asarray, change))
    return found


def peer():
    whole = contrib.MuonDimensionNumbers(reduction_axis=1, output_axis=2)
    return contrib.muon(
        rate,
        weight_decay=DECAY,
        muon_weight_dimension_numbers=lambda params: jax.tree.map(lambda _: whole, params),
    )


@pytest.mark.parametrize(
    "mesh",
    [dict(data=1), dict(data=2), dict(data=8), dict(data=2, fsdp=2, tensor=2)],
    ids=["one device", "two", "more than can share evenly", "weights sharded"],
)
def test_updates_are_those_of_optax(mesh):
    layout = Layout(MeshConfig(**mesh))
    ours = changes(muon(rate, DECAY, layout), layout)
    theirs = changes(peer(), Layout(MeshConfig(data=1)))
    for own, other in zip(ours, theirs, strict=True):
        for name, change in named(own).items():
            expected = named(other)[name]
            np.testing.assert_allclose(change, expected, rtol=1e-4, atol=2e-6, err_msg=name)


def test_a_matrix_of_zeros_stays_where_it_is():
    layout = Layout(MeshConfig(data=2))
    optimizer, params, gradient = muon(rate, 0.0, layout), some(0), some(1)
    gradient["blocks"]["attention"]["q"] *= 0
    change, _ = jax.jit(optimizer.update)(gradient, optimizer.init(params), params)
    moved = {name for name, x in named(change).items() if np.any(x)}
    assert moved == named(params).keys() - {"blocks.attention.q"}


def compiled(devices: int):
    layout = Layout(MeshConfig(data=devices))
    optimizer, params = muon(rate, DECAY, layout), put(some(0), layout.everywhere)
    return jax.jit(optimizer.update).lower(params, optimizer.init(params), params).compile()


def test_devices_share_the_work():
    """Products that one device is left with, as XLA counts them."""
    one, three = (compiled(devices).cost_analysis()["flops"] for devices in (1, 3))
    assert three < 0.45 * one  # all but momentum, decay and rate, which each does


def test_devices_send_their_shares_in_one_message():
    """Their shares of all matrices, of which those of each shape are filled up to a multiple."""
    program = compiled(4).as_text()
    kinds = "all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute"
    [(sent, kind)] = re.findall(rf"= (\S+) ({kinds})(?:-start)?\(", program)
    whole = 4 * (2 * 12 * 12 + 1 * 12 * 8 + 2 * 12 * 20)
    assert kind == "all-gather"
    assert math.prod(map(int, re.search(r"\[([\d,]+)\]", sent)[1].split(","))) == whole
