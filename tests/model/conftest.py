import jax
import pytest


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
