"""Options for XLA's compiler."""

import functools

import jax

# On CPU, XLA passes matrix products, fused with their neighbours, to the library YNNPACK. XLA's own
# products are faster here: benchmarks/training.py.
_NO_YNNPACK = {"xla_cpu_experimental_ynn_fusion_type": ""}


@functools.cache
def options() -> dict[str, str]:
    """Compiler options for `jax.jit` of a parameter update; empty unless the backend is a CPU."""
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(lambda: 0, compiler_options=_NO_YNNPACK).lower().compile()
    except jax.errors.JaxRuntimeError:  # the option is experimental: other versions may lack it
        return {}
    return _NO_YNNPACK
