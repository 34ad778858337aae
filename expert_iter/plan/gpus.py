"""NVIDIA GPUs that are described and need not be there: XLA's compiler takes their figures."""

import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding

from expert_iter.errors import UserError
from expert_iter.plan.chips import CHIPS


class Gpu(NamedTuple):
    """What the compiler asks about a GPU, beside its peaks.

    Attributes:
      kind: its `device_kind`, a key of CHIPS.
      capability: its CUDA compute capability, in XLA's text format.
      cores: streaming multiprocessors.
      units: of a core, for float32.
      shared: bytes of shared memory of a core.
      block_shared: bytes of it that one block can have.
      cache: bytes of the level-2 cache.
      clock: GHz.
    """

    kind: str
    capability: str
    cores: int
    units: int
    shared: int
    block_shared: int
    cache: int
    clock: float


# Source: NVIDIA's whitepapers on the A100 and H100 architectures, and the table of compute
# capabilities 8.0 and 9.0 in the CUDA C++ Programming Guide.
_AMPERE = "major: 8", 108, 64, 164 << 10, 163 << 10, 40 << 20, 1.41
_HOPPER = (
    "major: 9 feature_extension: ACCELERATED_FEATURES",
    132,
    128,
    228 << 10,
    227 << 10,
    50 << 20,
    1.98,
)
GPUS = {
    "a100_40gb": Gpu("NVIDIA A100-SXM4-40GB", *_AMPERE),
    "a100": Gpu("NVIDIA A100-SXM4-80GB", *_AMPERE),
    "h100": Gpu("NVIDIA H100 80GB HBM3", *_HOPPER),
    "h200": Gpu("NVIDIA H200", *_HOPPER),
}

# Limits that compute capabilities 8.0 and 9.0 share, and the versions that `jax[cuda12]` installs.
_TARGET = """
gpu_device_info {{
  cuda_compute_capability {{ {gpu.capability} }}
  core_count: {gpu.cores}
  fpus_per_core: {gpu.units}
  shared_memory_per_core: {gpu.shared}
  shared_memory_per_block_optin: {gpu.block_shared}
  shared_memory_per_block: 49152
  l2_cache_size: {gpu.cache}
  clock_rate_ghz: {gpu.clock}
  memory_bandwidth: {chip.bandwidth:.0f}
  device_memory_size: {chip.memory:.0f}
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  registers_per_block_limit: 65536
  registers_per_core_limit: 65536
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  thread_dim_limit_x: 1024
  thread_dim_limit_y: 1024
  thread_dim_limit_z: 64
  device_address_bits: 64
  driver_version: "12.9.0"
  runtime_version: "12.9.0"
  compile_time_toolkit_version: "12.9.0"
  dnn_version: "9.10.0"
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 }}
runtime_version {{ major: 12 minor: 9 }}
device_description_str: "{gpu.kind}"
"""


def is_gpu(name: str) -> bool:
    return name.split(":")[0] in GPUS


def gpus_of(name: str, nodes: int) -> list[jax.Device]:
    """Of a name such as h100:8, a GPU and how many of it one node has.

    Raises UserError for another name, and where there is no compiler.
    """
    from jax.experimental import topologies

    found = re.fullmatch(r"(\w+):([1-9]\d*)", name)
    if not found:
        raise UserError(f"--topology={name}: give the GPUs of a node, such as h100:8")
    gpu = GPUS[found[1]]
    try:
        described = topologies.get_topology_desc(
            platform="cuda",
            target_config=_TARGET.format(gpu=gpu, chip=CHIPS[gpu.kind]),
            topology=f"{nodes}x1x{found[2]}",
        )
    except NotImplementedError:  # what JAX raises without the plugin
        raise UserError(
            f"--topology={name} needs JAX's CUDA plugin: pip install 'expert_iter[cuda12]'"
        ) from None
    _check_toolkit(name, described.devices[0])
    return list(described.devices)


def _check_toolkit(name: str, device: jax.Device) -> None:
    """That the plugin finds libdevice and ptxas, before minutes of compiling."""
    number = jax.ShapeDtypeStruct((), jnp.float32, sharding=SingleDeviceSharding(device))
    try:
        jax.jit(jnp.sin).lower(number).compile()
    except jax.errors.JaxRuntimeError as error:
        raise UserError(
            f"--topology={name} needs ptxas and libdevice: pip install nvidia-cuda-nvcc-cu12 "
            f"({str(error).splitlines()[0]})"
        ) from None
