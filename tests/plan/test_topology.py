"""Chips that are described and need not be there."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from tests.forks import ROOT

SQUARE = """
import sys
import jax
from jax.sharding import SingleDeviceSharding
from expert_iter.plan import topology

topology.set_environment()
for name in sys.argv[1:]:
    devices = topology.devices_of(name)
    there = jax.ShapeDtypeStruct((128, 128), "float32", sharding=SingleDeviceSharding(devices[0]))
    compiled = jax.jit(lambda x: x @ x).lower(there).compile()
    print(name, len(devices), compiled.memory_analysis().output_size_in_bytes)
"""


@pytest.mark.skipif(find_spec("libtpu") is None, reason="libtpu, TPU's compiler, is not installed")
def test_hosts_of_fewer_chips_than_usual_can_be_described():
    """Such as a machine with one chip, which is the smallest that is rented."""
    sizes = {"v5e:1x1": 1, "v6e:1x1": 1, "v5p:1x1x1": 1, "v4:1x1x1": 1, "v5e:1x2": 2, "v5e:2x4": 8}
    # In a process of its own, whose environment the compiler needs.
    command, environment = (sys.executable, "-c", SQUARE, *sizes), {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.splitlines() == [f"{name} {n} {128 * 128 * 4}" for name, n in sizes.items()]
