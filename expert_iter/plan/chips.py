"""What accelerators can do at most, as their makers publish it."""

from typing import NamedTuple


class Chip(NamedTuple):
    """One device as JAX counts them.

    Attributes:
      name: as in the name of a topology.
      flops: a second, in bfloat16.
      memory: bytes.
      bandwidth: bytes a second between the device and its memory.
      links: bytes a second that it receives from other devices of its slice, on all links together:
        half of the published bandwidth, which counts both directions.
      share: of the memory, which JAX takes by default.
    """

    name: str
    flops: float
    memory: float
    bandwidth: float
    links: float
    share: float = 1.0

    @property
    def usable(self) -> float:
        """Bytes that programs can have."""
        return self.memory * self.share


_GPU_SHARE = 0.75  # unless XLA_PYTHON_CLIENT_MEM_FRACTION is set


# By `device_kind`. Source: the tables of key specifications in docs.cloud.google.com/tpu/docs/v4,
# /v5e, /v5p-training and /v6e. The bandwidth between v4 chips is that of Jouppi et al. 2023 (arXiv
# 2304.01433): six links of 50 GB/s. Memory is published in GB or in GiB from page to page; here it
# is 10^9 bytes, the smaller of the two. GPUs: NVIDIA's data sheets of A100, H100 and H200 in SXM
# form; FLOPs without sparsity, links of NVLink.
CHIPS = {
    "TPU v4": Chip("v4", 275e12, 32e9, 1200e9, 300e9),
    "TPU v5 lite": Chip("v5e", 197e12, 16e9, 819e9, 200e9),
    "TPU v5": Chip("v5p", 459e12, 95e9, 2765e9, 600e9),
    "TPU v6 lite": Chip("v6e", 918e12, 32e9, 1638e9, 400e9),
    "NVIDIA A100-SXM4-40GB": Chip("A100", 312e12, 40e9, 1555e9, 300e9, _GPU_SHARE),
    "NVIDIA A100-SXM4-80GB": Chip("A100", 312e12, 80e9, 2039e9, 300e9, _GPU_SHARE),
    "NVIDIA H100 80GB HBM3": Chip("H100", 989e12, 80e9, 3350e9, 450e9, _GPU_SHARE),
    "NVIDIA H200": Chip("H200", 989e12, 141e9, 4800e9, 450e9, _GPU_SHARE),
}
