"""Meshes on every topology of v5e, v5p and v6e up to 256 chips."""

import math
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import pytest
from jax.experimental.mesh_utils import create_device_mesh

from expert_iter.errors import UserError
from expert_iter.pod.mesh import Layout, MeshConfig
from expert_iter.pod.torus import place_on_tori

FLAT = "1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16"
CUBES = "4x4x4", "4x4x8", "4x4x12", "4x4x16", "4x8x8"
TOPOLOGIES = {
    "v5e": FLAT,
    "v6e": FLAT,
    "v5p": ("2x2x1", "2x2x2", "2x2x4", "2x4x4", *CUBES),
}
EVERY = [(chip, sides) for chip, all_sides in TOPOLOGIES.items() for sides in all_sides]
KINDS = {"v5e": "TPU v5 lite", "v6e": "TPU v6 lite", "v5p": "TPU v5"}


@dataclass(frozen=True)
class Chip:
    """What JAX tells of a TPU's device."""

    id: int
    coords: tuple[int, int, int]
    device_kind: str
    slice_index: int = 0
    process_index: int = 0
    core_on_chip: int = 0
    platform: str = "tpu"


def sides_of(topology):
    return np.array((*map(int, topology.split("x")), 1)[:3])


def chips(chip, topology, slices=1):
    """Four of a square have one host."""
    sides = sides_of(topology)
    squares = -(-sides // (2, 2, 1))
    devices = []
    for index in range(slices):
        for z, y, x in np.ndindex(*sides[::-1]):
            host = x // 2 + squares[0] * (y // 2 + squares[1] * (z + squares[2] * index))
            devices.append(Chip(len(devices), (x, y, z), KINDS[chip], index, int(host)))
    return devices


def meshes(count):
    divisors = [n for n in range(1, count + 1) if count % n == 0]
    return [(d, f, count // d // f) for d in divisors for f in divisors if count // d % f == 0]


def mean_hops(placed, topology):
    """Mean hops between neighbours on the closed rings along tensor, fsdp and data."""
    sides, coords = sides_of(topology), np.array([device.coords for device in placed.flat])
    closed = np.array([topology in CUBES or side == 16 for side in sides])
    hops = []
    for axis in (2, 1, 0):
        rings = coords.reshape(*placed.shape, 3)
        steps = abs(rings - np.roll(rings, 1, axis))
        steps = np.where(closed, np.minimum(steps, sides - steps), steps)
        hops.append(steps.sum(-1).mean())
    return hops


def hosts_of_a_group_have_the_same_groups(placed):
    """What `Layout.of_own_rows` needs: these hosts search together, and with no others."""
    hosts = np.vectorize(lambda device: device.process_index)(placed)
    groups = list(map(set, hosts.reshape(-1, placed.shape[2]).tolist()))
    held = defaultdict(set)
    for i, hosts in enumerate(groups):
        for host in hosts:
            held[host].add(i)
    return all(held[host] == held[min(hosts)] for hosts in groups for host in hosts)


def by_jax(shape, devices, split):
    try:
        return create_device_mesh(shape, devices, allow_split_physical_axes=split)
    except NotImplementedError:
        return None


@pytest.mark.parametrize("chip, topology", EVERY)
def test_every_mesh_starts_with_the_nearest_devices_innermost(chip, topology):
    devices = chips(chip, topology)
    for shape in meshes(len(devices)):
        placed = place_on_tori(shape, devices)
        assert placed.shape == shape and set(placed.flat) == set(devices)
        for group in placed.reshape(-1, shape[2]):
            sides = np.ptp([device.coords for device in group], axis=0) + 1
            assert math.prod(sides) == shape[2], "a box, without gaps"
        assert hosts_of_a_group_have_the_same_groups(placed)

        hops = mean_hops(placed, topology)
        # Three chips of a grid form no ring of single steps.
        far = [x for x, size in zip(hops, shape[::-1], strict=True) if size not in (1, 3)]
        assert far == sorted(far), shape
        # Where a device along one axis is farther than JAX has it, one along an axis within is
        # nearer.
        for split in (False, True):
            if (theirs := by_jax(shape, devices, split)) is not None:
                assert hops <= mean_hops(theirs, topology), shape


@pytest.mark.parametrize(
    "chip, topology, shape, hops",
    [
        # JAX has no layout for it. Planes of 2 × 4 chips, four beside each other along z.
        ("v5p", "2x4x4", (2, 2, 8), [1, 1, 2]),
        # Squares of four rather than lines, which close only by the way back.
        ("v5e", "2x4", (1, 2, 4), [1, 2, 0]),
        # Sides of 16 are rings.
        ("v5e", "16x16", (1, 16, 16), [1, 1, 0]),
        ("v5e", "8x8", (1, 1, 64), [1, 0, 0]),
        # A line of three: two steps away, two back.
        ("v5p", "4x4x12", (4, 16, 3), [4 / 3, 1, 3]),
    ],
)
def test_hops_by_hand(chip, topology, shape, hops):
    placed = place_on_tori(shape, chips(chip, topology))
    assert mean_hops(placed, topology) == pytest.approx(hops)


def test_only_data_goes_over_slices():
    for chip, topology in (("v5e", "2x4"), ("v6e", "4x4"), ("v5p", "2x2x2")):
        for slices in (2, 3, 4):
            devices = chips(chip, topology, slices)
            count = len(devices)
            for shape in meshes(count):
                if shape[0] % slices == 0:
                    placed = Layout(MeshConfig(*shape), devices).mesh.devices
                    assert set(placed.flat) == set(devices)
                    for index, part in enumerate(np.split(placed, slices)):
                        assert {device.slice_index for device in part.flat} == {index}
                else:
                    with pytest.raises(UserError, match=f"do not fit {slices} slices"):
                        Layout(MeshConfig(*shape), devices)


def test_a_mesh_that_does_not_fit_is_refused_with_some_that_do():
    pod, host = chips("v5p", "2x4x4"), chips("v5e", "2x2")
    for config, devices, line in [
        (
            MeshConfig(data=3, tensor=8),
            pod,
            "mesh.data=3, mesh.fsdp=1 and mesh.tensor=8 need 24 devices, and there are 32; "
            "data × fsdp × tensor can be 4 × 1 × 8, 2 × 1 × 16, 2 × 2 × 8, 4 × 2 × 4",
        ),
        (
            MeshConfig(fsdp=16),
            chips("v5e", "2x4", slices=2),
            "mesh.data=0, mesh.fsdp=16 and mesh.tensor=1 do not fit 2 slices: data, the only axis "
            "across them, is 1; "
            "data × fsdp × tensor can be 2 × 8 × 1, 2 × 4 × 2, 4 × 4 × 1, 2 × 2 × 4",
        ),
        (
            MeshConfig(data=3),
            host,
            "mesh.data=3, mesh.fsdp=1 and mesh.tensor=1 need 3 devices, and can have all 4 or a "
            "divisor of that; data × fsdp × tensor can be 4 × 1 × 1, 2 × 1 × 2, 2 × 2 × 1, "
            "1 × 1 × 4",
        ),
        (
            MeshConfig(fsdp=3, tensor=4),
            chips("v5p", "4x4x12"),
            "mesh.data=0, mesh.fsdp=3 and mesh.tensor=4 do not fit a TPU: XLA compiles no "
            "reduce-scatter over an odd fsdp; data × fsdp × tensor can be "
            "12 × 4 × 4, 16 × 4 × 3, 16 × 2 × 6, 24 × 2 × 4",
        ),
        (MeshConfig(), host[:3], "the 3 chips have gaps: no full box of 3 is among them"),
    ]:
        with pytest.raises(UserError) as refused:
            Layout(config, devices)
        assert str(refused.value) == line


def test_a_part_of_a_host_is_a_box_of_neighbours():
    placed = Layout(MeshConfig(tensor=2, data=1), chips("v5e", "2x2")).mesh.devices
    assert mean_hops(placed, "2x2") == [1, 0, 0]


def test_gpus_of_several_nodes_stay_in_the_order_of_their_ids():
    gpus = [
        Chip(i, (), "NVIDIA H100", slice_index=i // 4, process_index=i, platform="gpu")
        for i in range(8)
    ]
    placed = Layout(MeshConfig(fsdp=2, tensor=2), gpus[::-1]).mesh.devices
    assert [gpu.id for gpu in placed.flat] == list(range(8))


# Prints the devices of a topology, and compiles talk along each axis of each mesh.
ON_REAL_TOPOLOGIES = """
import sys, jax, jax.numpy as jnp
from jax import lax
from jax.experimental.topologies import get_topology_desc
from jax.sharding import PartitionSpec
from expert_iter.errors import UserError
from expert_iter.plan.topology import set_environment
from expert_iter.pod.mesh import AXES, Layout, MeshConfig
from expert_iter.pod.torus import factorisations

set_environment()
name, slices = sys.argv[1], int(sys.argv[2])
one = dict(chips_per_host_bounds=(1, 1, 1)) if name.endswith(":1x1") else {}
more = dict(num_slices=slices) if slices > 1 else {}
devices = get_topology_desc(name, platform="tpu", **one, **more).devices
for d in devices:
    index = getattr(d, "slice_index", 0)
    print("device", index, d.process_index, *d.coords, d.core_on_chip, d.platform, d.device_kind)

def talk(x):
    x = lax.all_gather(x, "tensor", tiled=True)
    return lax.psum(lax.psum_scatter(x, "fsdp", tiled=True), "data")

for shape in factorisations(len(devices), 3):
    try:
        mesh = Layout(MeshConfig(*shape), devices).mesh
    except UserError:
        continue
    spec = PartitionSpec(AXES)
    program = jax.shard_map(talk, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)
    x = jax.ShapeDtypeStruct((len(devices) * shape[1] * 8, 128), jnp.float32)
    jax.jit(program).lower(x).compile()
    print("mesh", *shape)
"""


@pytest.mark.slow
@pytest.mark.skipif(find_spec("libtpu") is None, reason="libtpu, TPU's compiler, is not installed")
@pytest.mark.parametrize(
    "chip, topology, slices",
    [(*topology, 1) for topology in EVERY] + [("v5e", "2x4", 2), ("v5p", "2x2x2", 4)],
)
def test_the_compiler_of_tpus_takes_every_mesh(chip, topology, slices):
    """And its devices are as those above, for which hops are counted."""
    # In a process of its own, whose environment the compiler needs.
    run = sys.executable, "-c", ON_REAL_TOPOLOGIES, f"{chip}:{topology}", str(slices)
    done = subprocess.run(run, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    said = done.stdout.splitlines()
    ours = chips(chip, topology, slices)
    assert {line for line in said if line.startswith("device")} == {
        " ".join(
            map(str, ("device", d.slice_index, d.process_index, *d.coords, 0, "tpu", d.device_kind))
        )
        for d in ours
    }
    assert {line for line in said if line.startswith("mesh")} == {
        f"mesh {data} {fsdp} {tensor}"
        for data, fsdp, tensor in meshes(len(ours))
        if data % slices == 0 and fsdp != 3
    }
