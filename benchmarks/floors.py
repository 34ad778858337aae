"""What this machine can do at best, measured beside the figures that are to be compared with it."""

import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp


def seconds(run: Callable[[], object], repeats: int) -> list[float]:
    """Of `run`, waiting for its arrays; once before, uncounted."""
    jax.block_until_ready(run())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - start)
    return times


def matmul_flops(dtype: str = "float32", size: int = 0, repeats: int = 5) -> float:
    """FLOP/s of a product of two square matrices."""
    size = size or (2048 if jax.default_backend() == "cpu" else 8192)
    a = jnp.ones((size, size), dtype)
    product = jax.jit(jnp.dot)
    return 2 * size**3 / statistics.median(seconds(lambda: product(a, a), repeats))


def memory_bandwidth(megabytes: int = 256, repeats: int = 5) -> float:
    """Bytes/s of a sum over an array that no cache holds."""
    x = jnp.ones(megabytes * 2**20 // 4)
    total = jax.jit(jnp.sum)
    return x.nbytes / statistics.median(seconds(lambda: total(x), repeats))


def machine() -> str:
    """One line on where the figures come from."""
    device = jax.devices()[0]
    return f"{jax.device_count()} × {device.device_kind}, jax {jax.__version__}"
