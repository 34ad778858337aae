"""How many devices JAX makes of the host's CPU."""

import os
from typing import Any

import jax

_DEVICES = 2


def split_cpu(rows: Any) -> None:
    """Has JAX make two devices of a CPU of several cores, if the learner's batch, of so many rows,
    can be cut in two; `rows` has not been checked yet and may be anything. JAX_NUM_CPU_DEVICES in
    the environment, or the like in XLA_FLAGS, says otherwise.

    Each device works through its half of a batch by itself, so that one fills the cores where the
    other has too little to do for them: small operations, calls of the verifier, the end of each
    large operation. More than two gain nothing on two cores (docs/results.md, "Speed of search").
    """
    told = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    told |= bool(os.environ.get("JAX_NUM_CPU_DEVICES"))
    if told or (os.cpu_count() or 1) < _DEVICES or not isinstance(rows, int) or rows % _DEVICES:
        return
    try:
        jax.config.update("jax_num_cpu_devices", _DEVICES)
    except RuntimeError:  # a config file has used JAX, and its devices are there already
        return
