"""The devices as one mesh, data × fsdp × tensor, and how arrays are sharded on it.

Parameters have one sharding for learning (each matrix along `fsdp` and `tensor`) and one for
search; batches are sharded by rows. Nothing but time and memory depends on the mesh: randomness
belongs to rows, not to devices.
"""

import dataclasses
import math
from typing import Any

import jax
import numpy as np
from jax.experimental.mesh_utils import create_device_mesh
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from expert_iter.errors import UserError
from expert_iter.model.parameters import HEADS, MLP, VOCAB, WIDTH, parameter_at
from expert_iter.pod.torus import factorisations, place_on_tori, slice_of
from expert_iter.range_checks import Checks

AXES = DATA, FSDP, TENSOR = "data", "fsdp", "tensor"
GATHERED, TENSOR_PARALLEL = "gathered", "tensor"

# Logical axes of parameters to axes of the mesh; along other dimensions arrays are not sharded.
_LEARNING = {VOCAB: TENSOR, HEADS: TENSOR, MLP: TENSOR, WIDTH: FSDP}
_SEARCH = {
    GATHERED: {},
    TENSOR_PARALLEL: {VOCAB: TENSOR, HEADS: TENSOR, MLP: TENSOR},
}


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """How many devices there are along each axis of the mesh.

    Attributes:
      data: batches are sharded along it. 0: all devices that the other axes leave.
      fsdp: batches and parameters are sharded along it.
      tensor: parameters are sharded along it.
      search: 'gathered' gives every device all parameters while it searches, and the devices of
        `tensor` rows of their own. 'tensor' leaves parameters sharded along `tensor`, for networks
        too large for one device.
    """

    data: int = 0
    fsdp: int = 1
    tensor: int = 1
    search: str = GATHERED

    def __post_init__(self):
        check = Checks("mesh", self)
        check.not_negative("data")
        check.at_least(1, "fsdp", "tensor")
        check.one_of("search", *_SEARCH)


class Layout:
    """The shardings of parameters and batches.

    devices: those of the mesh, by default all. A number stands for so many that need not exist,
    which is enough to compute with shapes.
    """

    def __init__(
        self,
        config: MeshConfig,
        devices: list | int | None = None,
        mesh: Mesh | None = None,
    ):
        self.config = config
        self.mesh = mesh or _mesh(config, jax.devices() if devices is None else devices)
        self.rows = NamedSharding(self.mesh, PartitionSpec((DATA, FSDP)))
        self.everywhere = NamedSharding(self.mesh, PartitionSpec())
        # Along these axes a search has rows of its own.
        self.search_axes = AXES if config.search == GATHERED else (DATA, FSDP)
        self.search_rows = NamedSharding(self.mesh, PartitionSpec(self.search_axes))

    @property
    def row_shards(self) -> int:
        """Into how many parts a batch of the learner is sharded."""
        return math.prod(self.mesh.shape[axis] for axis in (DATA, FSDP))

    @property
    def weights_lie_whole(self) -> bool:
        """Whether every device has all parameters while it learns."""
        return self.mesh.shape[FSDP] == self.mesh.shape[TENSOR] == 1

    @property
    def search_shards(self) -> int:
        """Into how many parts a batch of problems is sharded."""
        return math.prod(self.mesh.shape[axis] for axis in self.search_axes)

    @property
    def rows_span_processes(self) -> bool:
        """Whether devices of several processes search the same rows."""
        together = self.mesh.devices.reshape(self.search_shards, -1)
        return any(len({d.process_index for d in group}) > 1 for group in together)

    def search_axis_of_heads(self, heads: int) -> str | None:
        """Along which axis so many heads of keys and values are sharded in a search."""
        axis = _SEARCH[self.config.search].get(HEADS)
        return axis if axis and heads % self.mesh.shape[axis] == 0 else None

    def of_own_rows(self) -> "Layout":
        """A layout of the devices that search this process's rows: its own, and those of other
        processes with which it shares their parameters.
        """
        if jax.process_count() == 1:
            return self
        together = self.mesh.devices.reshape(self.search_shards, -1)
        own = jax.process_index()
        held = [group for group in together if any(d.process_index == own for d in group)]
        return Layout(self.config, mesh=Mesh(np.array(held)[:, None], AXES, axis_types=_TYPES))

    def learning(self, tree: Any) -> Any:
        """Shardings of parameters, or of an optimizer's state with trees like them, while learning.

        Raises KeyError if a dict holds an array that is none of `model.parameters`.
        """
        return self._by_rules(tree, _LEARNING)

    def searching(self, tree: Any) -> Any:
        """Shardings of parameters while searching; raises as `learning`."""
        return self._by_rules(tree, _SEARCH[self.config.search])

    def _by_rules(self, tree: Any, rules: dict[str, str]) -> Any:
        def sharding(path, leaf):
            parameter = parameter_at(path)
            axes = [rules.get(axis) for axis in (parameter.axes if parameter else ())]
            axes = [None] * (leaf.ndim - len(axes)) + axes  # stacked layers come first
            spec = [
                axis if axis and size % self.mesh.shape[axis] == 0 else None
                for axis, size in zip(axes, leaf.shape, strict=False)
            ]
            return NamedSharding(self.mesh, PartitionSpec(*spec))

        return jax.tree_util.tree_map_with_path(sharding, tree)


def one_device() -> Layout:
    """All on the first device."""
    return Layout(MeshConfig(data=1), jax.local_devices()[:1])


def put(tree: Any, shardings: Any) -> Any:
    """Puts host arrays on the devices.

    Args:
      tree: arrays, right at least in the parts for this process's devices.
      shardings: one for all arrays, or a tree of them like `tree`.
    """

    def place(array, sharding):
        host = np.asarray(array)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    if isinstance(shardings, NamedSharding):
        return jax.tree.map(lambda array: place(array, shardings), tree)
    return jax.tree.map(place, tree, shardings)


def held_rows(sharding: NamedSharding, count: int) -> np.ndarray:
    """Which of `count` rows lie on this process's devices."""
    held = sharding.addressable_devices_indices_map((count,)).values()
    return _rows({index[0].indices(count)[:2] for index in held})


def own_rows(sharding: NamedSharding, count: int) -> np.ndarray:
    """Which of `count` rows this process answers for: those it holds, but for rows that processes
    before it hold too.
    """
    return _rows(_own_parts(sharding, count))


def own_part(array: jax.Array) -> np.ndarray:
    """The `own_rows` of an array that is sharded by rows."""
    count = len(array)
    shards = {shard.index[0].indices(count)[:2]: shard.data for shard in array.addressable_shards}
    own = sorted(_own_parts(array.sharding, count))
    # A process that shares all its rows with others before it answers for none.
    none = np.asarray(array.addressable_shards[0].data)[:0]
    return np.concatenate([none, *(np.asarray(shards[part]) for part in own)])


def held_part(array: jax.Array) -> np.ndarray:
    """The `held_rows` of an array that is sharded by rows."""
    if array.is_fully_addressable:
        return np.asarray(array)
    shards = {
        shard.index[0].indices(len(array))[:2]: shard.data for shard in array.addressable_shards
    }
    return np.concatenate([np.asarray(shards[part]) for part in sorted(shards)])


def on_own_devices(tree: Any, own: Layout) -> Any:
    """Arrays of all devices as arrays of those of `own` (`Layout.of_own_rows`), with the rows that
    are there. Nothing is copied.
    """
    if jax.process_count() == 1:
        return tree

    def there(array: jax.Array) -> jax.Array:
        sharding = NamedSharding(own.mesh, array.sharding.spec)
        shards = [shard.data for shard in array.addressable_shards]
        parts = [_parts(own.mesh, axes) for axes in sharding.spec]
        parts += [1] * (array.ndim - len(parts))
        shape = tuple(size * n for size, n in zip(shards[0].shape, parts, strict=True))
        return jax.make_array_from_single_device_arrays(shape, sharding, shards)

    return jax.tree.map(there, tree)


def on_all_devices(tree: Any, rows: NamedSharding) -> Any:
    """The inverse of `on_own_devices`, for arrays sharded by rows. rows: on all devices."""
    if jax.process_count() == 1:
        return tree

    def there(array: jax.Array) -> jax.Array:
        shards = [shard.data for shard in array.addressable_shards]
        size, *others = shards[0].shape
        shape = (size * _parts(rows.mesh, rows.spec[0]), *others)
        return jax.make_array_from_single_device_arrays(shape, rows, shards)

    return jax.tree.map(there, tree)


def _parts(mesh: Mesh, axes: str | tuple[str, ...] | None) -> int:
    """Into how many parts a dimension along these axes is sharded."""
    axes = (axes,) if isinstance(axes, str) else axes or ()
    return math.prod(mesh.shape[axis] for axis in axes)


def _own_parts(sharding: NamedSharding, count: int) -> set[tuple[int, int]]:
    holder: dict[tuple[int, int], int] = {}
    for device, index in sharding.devices_indices_map((count,)).items():
        part = index[0].indices(count)[:2]
        holder[part] = min(holder.get(part, device.process_index), device.process_index)
    return {part for part, process in holder.items() if process == jax.process_index()}


def _rows(parts: set[tuple[int, int]]) -> np.ndarray:
    return np.concatenate([np.arange(*part) for part in sorted(parts)] or [np.zeros(0, int)])


def _mesh(config: MeshConfig, devices: list | int) -> Mesh | AbstractMesh:
    described = not isinstance(devices, int)
    count = len(devices) if described else devices
    on_tpu = described and devices[0].platform == "tpu"
    slices = len({slice_of(device) for device in devices}) if on_tpu else 1
    processes = len({device.process_index for device in devices}) if described else 1

    others = config.fsdp * config.tensor
    data = config.data or max(count // others, 1)
    shape, wanted = (data, config.fsdp, config.tensor), data * others

    def refusal(why: str) -> UserError:
        asked = f"mesh.data={config.data}, mesh.fsdp={config.fsdp} and mesh.tensor={config.tensor}"
        fit = ", ".join(" × ".join(map(str, mesh)) for mesh in _fitting(shape, count, slices))
        return UserError(f"{asked} {why}; data × fsdp × tensor can be {fit}")

    if wanted > count or (processes > 1 and wanted != count):
        raise refusal(f"need {wanted} devices, and there are {count}")
    if data % slices:
        raise refusal(f"do not fit {slices} slices: data, the only axis across them, is {data}")
    if not described:
        return AbstractMesh(shape, AXES, axis_types=_TYPES)
    if not on_tpu:
        # What `jax.make_mesh` does, which refuses GPUs of several nodes.
        return Mesh(create_device_mesh(shape, devices[:wanted]), AXES, axis_types=_TYPES)
    if count % wanted:
        # XLA compiles no collectives for 6 chips of 8.
        raise refusal(f"need {wanted} devices, and can have all {count} or a divisor of that")
    if _is_odd(config.fsdp):
        raise refusal("do not fit a TPU: XLA compiles no reduce-scatter over an odd fsdp")
    placed = place_on_tori(shape, devices)
    if placed is None:
        raise UserError(f"the {count} chips have gaps: no full box of {wanted} is among them")
    return Mesh(placed, AXES, axis_types=_TYPES)


_TYPES = (AxisType.Auto,) * len(AXES)  # explicit axes break mctx


def _fitting(shape: tuple[int, ...], count: int, slices: int) -> list[tuple[int, ...]]:
    """The four meshes of all devices that are most like `shape`."""
    a_slice = factorisations(count // slices, len(AXES))
    meshes = [(slices * data, fsdp, tensor) for data, fsdp, tensor in a_slice if not _is_odd(fsdp)]
    unlike = lambda mesh: np.abs(np.log(np.divide(mesh, shape))).sum().round(6)  # noqa: E731
    return sorted(meshes, key=unlike)[:4]


def _is_odd(size: int) -> bool:
    return size > 1 and size % 2 == 1
