"""Devices that are described and need not be there: their compiler knows them by name."""

import os
import re

import jax

from expert_iter.errors import UserError
from expert_iter.plan.gpus import gpus_of, is_gpu

# The compiler asks for these on a machine without TPU, and would wait for a server otherwise.
_ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5e-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
}
_HOST = 2, 2, 1  # chips of a host along the axes of the torus, if the compiler is not told
_EXAMPLES = "v5e:2x4, v6e:2x4, v5p:2x2x2, v4:2x2x2, h100:8"


def set_environment() -> None:
    """Before JAX starts a backend."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def devices_of(name: str, slices: int = 1) -> list[jax.Device]:
    """Of the topology of this name: a TPU's chip and the sizes of its torus, such as v5e:2x4, or a
    GPU and how many of it one node has, such as h100:8.

    slices: how many of it there are, each with links of its own; of GPUs, nodes.
    Raises UserError for a name that the compiler does not know, and where there is no compiler.
    """
    from jax.experimental import topologies

    if is_gpu(name):
        return gpus_of(name, slices)
    more = {"num_slices": slices} if slices > 1 else {}
    if name.startswith("v4"):
        more["chip_config_name"] = "megacore"  # one device a chip, as in a run
    if (host := _small_host(name)) is not None:
        more["chips_per_host_bounds"] = host
    try:
        return list(topologies.get_topology_desc(name, platform="tpu", **more).devices)
    except RuntimeError as error:
        if "not installed" in str(error):
            raise UserError(
                "--topology needs the TPU's compiler: pip install 'expert_iter[tpu]'"
            ) from None
        raise UserError(
            f"--topology={name}: there is no such topology; examples are {_EXAMPLES}"
        ) from None


def _small_host(name: str) -> list[int] | None:
    """Chips of a host where the torus is smaller than `_HOST`, such as v5e:1x1, else None. The
    compiler refuses a torus that does not consist of whole hosts.
    """
    sizes = [int(size) for size in re.findall(r"\d+", name.partition(":")[2])]
    sizes += [1] * (len(_HOST) - len(sizes))
    host = [max(min(pair), 1) for pair in zip(sizes, _HOST, strict=False)]
    return None if host == [*_HOST] else host
