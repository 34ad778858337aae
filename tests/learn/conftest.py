"""A tiny network, and random step trees for it."""

import jax
import numpy as np
import pytest

from expert_iter.learn.step_tree import StepTree
from expert_iter.model.transformer import Network, TransformerConfig

VOCAB = 12
PLAIN = TransformerConfig(
    num_layers=2, width=16, num_heads=2, num_kv_heads=1, head_dim=8, mlp_width=32
)


@pytest.fixture(scope="session")
def network():
    return Network(PLAIN, VOCAB)


@pytest.fixture(scope="session")
def random_params():
    """Parameters with noise everywhere: at their start norms and value head would show nothing."""

    def make(network, seed=0):
        leaves, shape = jax.tree.flatten(network.init(jax.random.key(seed)))
        keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
        noisy = [
            x + 0.3 * jax.random.normal(key, x.shape) for x, key in zip(leaves, keys, strict=True)
        ]
        return jax.tree.unflatten(shape, noisy)

    return make


@pytest.fixture(scope="session")
def params(network, random_params):
    return random_params(network)


@pytest.fixture(scope="session")
def random_tree():
    """Makes a tree of `steps` steps of 1 to 3 tokens, each after a random earlier one."""

    def make(rng, steps=6, prompt=3):
        length = rng.integers(1, 4, steps)
        length[0] = prompt
        parent = np.array([-1, *(rng.integers(0, g) for g in range(1, steps))])
        step = np.arange(steps) > 0
        return StepTree(
            token=rng.integers(0, VOCAB, length.sum()).astype(np.int32),
            length=length.astype(np.int32),
            parent=parent.astype(np.int32),
            policy_weight=(rng.random(steps) * step * (rng.random(steps) < 0.7)).astype(np.float32),
            value_target=rng.random(steps).astype(np.float32),
            value_weight=(rng.random(steps) * (rng.random(steps) < 0.7)).astype(np.float32),
            correction=rng.normal(size=steps).astype(np.float32),
            in_set=step & (rng.random(steps) < 0.7),
        )

    return make
