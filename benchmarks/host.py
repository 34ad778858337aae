"""The host as the commands use it (see `expert_iter.cli`)."""

import math

import jax

from expert_iter.pod.host_devices import split_cpu
from expert_iter.pod.host_memory import keep_freed_memory
from expert_iter.pod.mesh import Layout, MeshConfig


def prepare(rows: int = 2, parameters: int = 0) -> None:
    """Before JAX is used. rows: of the learner's batch, where there is one; parameters: of the
    largest network.
    """
    keep_freed_memory()
    split_cpu(rows, parameters)


def layout_for(rows: int) -> Layout:
    """All devices that so many rows can be dealt to evenly."""
    return Layout(MeshConfig(data=math.gcd(rows, jax.device_count())))
