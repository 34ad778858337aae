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
    """

    name: str
    flops: float
    memory: float
    bandwidth: float
    links: float


# By `device_kind`. Source: the tables of key specifications in docs.cloud.google.com/tpu/docs/v4,
# /v5e, /v5p-training and /v6e. The bandwidth between v4 chips is that of Jouppi et al. 2023 (arXiv
# 2304.01433): six links of 50 GB/s. Memory is published in GB or in GiB from page to page; here it
# is 10^9 bytes, the smaller of the two.
CHIPS = {
    "TPU v4": Chip("v4", 275e12, 32e9, 1200e9, 300e9),
    "TPU v5 lite": Chip("v5e", 197e12, 16e9, 819e9, 200e9),
    "TPU v5": Chip("v5p", 459e12, 95e9, 2765e9, 600e9),
    "TPU v6 lite": Chip("v6e", 918e12, 32e9, 1638e9, 400e9),
}
