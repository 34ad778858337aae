"""How many devices JAX sees on the host's CPU."""

import os
from typing import Any

import jax

_DEVICES = 2  # more gain nothing on two cores: docs/results.md, "Speed of search"
# Numbers of a network from which on operations keep all cores busy: two devices were no faster at
# 135M, and each has weights, gradients and moments of its own.
LARGE = 50_000_000


def split_cpu(rows: Any, parameters: int = 0) -> None:
    """Gives JAX two devices on a CPU of several cores, so that one computes while the other waits.

    A device waits, or leaves cores idle, in small operations, in calls of the verifier, and at the
    end of each large operation. Nothing changes for a network of `LARGE` or more numbers, where the
    batch cannot be halved, or where the user has chosen, by JAX_NUM_CPU_DEVICES or XLA_FLAGS in the
    environment.

    Args:
      rows: rows of the learner's batch. Not yet validated: a value of any type is accepted.
      parameters: numbers of the network.
    """
    chosen = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    chosen |= bool(os.environ.get("JAX_NUM_CPU_DEVICES"))
    whole = parameters >= LARGE or not isinstance(rows, int) or rows % _DEVICES
    if chosen or whole or (os.cpu_count() or 1) < _DEVICES:
        return
    try:
        jax.config.update("jax_num_cpu_devices", _DEVICES)
    except RuntimeError:  # a config file has used JAX, so its devices exist already
        return
