"""A CPU of several cores is two devices, unless something speaks against it."""

import os
import subprocess
import sys

import pytest

from expert_iter.pod.host_devices import LARGE

CORES = os.cpu_count() or 1
ALONE = {
    name: value
    for name, value in os.environ.items()
    if name not in ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES")
}


def devices(rows, parameters=0, before="", **environment):
    """How many JAX has in a process of its own."""
    program = f"""
import jax
from expert_iter.pod.host_devices import split_cpu
{before}
split_cpu({rows!r}, {parameters})
print(jax.device_count())
"""
    command, environment = [sys.executable, "-c", program], ALONE | environment
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return int(done.stdout)


@pytest.mark.skipif(CORES < 2, reason="one core")
def test_a_batch_of_even_rows_is_cut_in_two():
    assert devices(16) == 2


def test_what_cannot_be_cut_in_two_is_not():
    assert devices(15) == devices("16") == devices(None) == 1


@pytest.mark.skipif(CORES < 2, reason="one core")
def test_a_large_network_is_there_once():
    assert devices(16, LARGE - 1) == 2
    assert devices(16, LARGE) == 1


def test_who_says_how_many_gets_so_many():
    assert devices(16, LARGE, JAX_NUM_CPU_DEVICES="3") == 3
    assert devices(16, XLA_FLAGS="--xla_force_host_platform_device_count=4") == 4


def test_a_config_that_has_used_jax_costs_a_device_and_no_more():
    assert devices(16, before="jax.devices()") == 1
