"""Options for XLA's compiler."""

import functools

import jax

# XLA gives matrix products on CPUs, with what is around them, to a library (YNNPACK) that is slower
# here than its own: benchmarks/training.py.
_OWN_PRODUCTS = {"xla_cpu_experimental_ynn_fusion_type": ""}


@functools.cache
def options() -> dict[str, str]:
    """For `jax.jit` of an update of the parameters; empty where the backend knows no better."""
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(lambda: 0, compiler_options=_OWN_PRODUCTS).lower().compile()
    except jax.errors.JaxRuntimeError:  # the option is experimental: other versions may lack it
        return {}
    return _OWN_PRODUCTS
