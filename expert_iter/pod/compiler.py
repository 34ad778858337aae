"""Options for XLA's compiler."""

import functools

import jax
from jax.sharding import AbstractMesh, Mesh

# On CPU, XLA passes matrix products, fused with their neighbours, to the library YNNPACK. XLA's own
# products are faster here: benchmarks/training.py.
_NO_YNNPACK = {"xla_cpu_experimental_ynn_fusion_type": ""}


def options(mesh: Mesh | AbstractMesh) -> dict[str, str]:
    """Compiler options for `jax.jit` of a parameter update; empty unless the devices are CPUs."""
    if isinstance(mesh, AbstractMesh) or mesh.devices.flat[0].platform != "cpu":
        return {}
    return _on_cpu()


@functools.cache
def _on_cpu() -> dict[str, str]:
    try:
        jax.jit(lambda: 0, compiler_options=_NO_YNNPACK).lower().compile()
    except jax.errors.JaxRuntimeError:  # the option is experimental: other versions may lack it
        return {}
    return _NO_YNNPACK
