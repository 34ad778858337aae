"""GPUs that are described to XLA's compiler."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

from expert_iter.errors import UserError
from expert_iter.plan.chips import CHIPS
from expert_iter.plan.gpus import GPUS, gpus_of

WITHOUT_PLUGIN = not any(find_spec(f"jax_cuda{version}_plugin") for version in (12, 13))
# A loop of five steps on a mesh of 2 × 2. In each, every device multiplies 32 rows with half of the
# weights, and keeps half of the sum.
ON_FOUR_GPUS = """
import jax
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_enable_compilation_cache", False)
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec as P

from expert_iter.plan.counts import count
from expert_iter.plan.topology import devices_of
from expert_iter.pod.mesh import Layout, MeshConfig

devices = devices_of("h100:2", slices=2)
mesh = Layout(MeshConfig(data=2, tensor=2), devices).mesh

def along(*axes):
    return NamedSharding(mesh, P(*axes))

def array(shape, *axes):
    return jax.ShapeDtypeStruct(shape, jnp.float32, sharding=along(*axes))

constrain = jax.lax.with_sharding_constraint
rows = "data", None, "tensor"

@jax.jit
def program(x, w):
    def step(x, _):
        y = constrain(jnp.einsum("nab,bc->nac", x, w), along("data"))
        return constrain(jnp.sin(y), along(*rows)), None
    return jax.lax.scan(step, x, length=5)[0]

compiled = program.lower(array((2, 32, 128), *rows), array((128, 128), "tensor")).compile()
counts = count(compiled.as_text(), mesh.shape)
print("devices", *(f"{d.device_kind},{d.process_index}" for d in mesh.devices.flat), sep=";")
print("arguments", compiled.memory_analysis().argument_size_in_bytes)
print("flops", counts.flops)
for (kind, axes), moved in counts.collectives.items():
    print(kind, axes, moved.count, moved.bytes)
"""


@pytest.mark.parametrize("name", GPUS)
def test_peaks_follow_from_cores_and_clock(name):
    """NVIDIA's whitepapers: a core multiplies and adds 1,024 pairs of bfloat16 in a cycle on
    Ampere, 2,048 on Hopper, which slows its clock down by 8% for them.
    """
    gpu = GPUS[name]
    pairs, clock = (1024, gpu.clock) if gpu.cores == 108 else (2048, 1.83)
    assert CHIPS[gpu.kind].flops == pytest.approx(2 * pairs * gpu.cores * clock * 1e9, rel=0.01)


@pytest.mark.parametrize("name", ["h100", "h100:", "h100:0", "h100:2x4"])
def test_a_name_without_a_number_is_refused(name):
    with pytest.raises(UserError, match=f"--topology={name}: give the GPUs of a node"):
        gpus_of(name, 1)


@pytest.mark.slow
@pytest.mark.skipif(WITHOUT_PLUGIN, reason="JAX's CUDA plugin is not installed")
def test_a_program_for_gpus_that_are_not_there_is_counted():
    """By hand: a device holds 32 × 64 numbers and 64 × 128 weights; a step takes
    2 × 32 × 64 × 128 FLOPs, and of two summands of 32 × 128 a device receives half of one.
    """
    # In a process of its own, for the plugin cannot be unloaded.
    done = subprocess.run([sys.executable, "-c", ON_FOUR_GPUS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "devices;" + ";".join(f"NVIDIA H100 80GB HBM3,{node}" for node in (0, 0, 1, 1)),
        f"arguments {4 * (32 * 64 + 64 * 128)}",
        f"flops {5 * 2 * 32 * 64 * 128:.1f}",
        f"reduce-scatter tensor 5 {5 * 4 * 32 * 64:.1f}",
    ]
