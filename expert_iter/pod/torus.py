"""Which chip of a TPU takes which place of the mesh.

The chips of a slice form a grid, X × Y × Z, each linked to its neighbours. Every axis of the mesh
takes a factor of each side of the grid, so the devices of a `tensor` group form a box of
neighbours, those of `fsdp` a box of such boxes, and `data` the rest. Of all factors, the best have
the fewest hops between neighbours along `tensor`, then `fsdp`, then `data`, then the most compact
boxes.

`jax.make_mesh` refuses axes that are no product of whole sides, and several slices.
"""

import functools
import itertools
import math
from collections import defaultdict
from collections.abc import Iterator

import jax
import numpy as np


def place_on_tori(shape: tuple[int, int, int], devices: list[jax.Device]) -> np.ndarray | None:
    """The devices in the shape of a mesh.

    Args:
      shape: sizes along data, fsdp and tensor. Slices are joined by a slower network: they divide
        data, whose outer part goes over them.
      devices: of a TPU, real or only described, at least as many as the mesh has.

    Returns:
      [data, fsdp, tensor] devices. None where a slice has no full box of its part's size.
    """
    slices = defaultdict(list)
    for device in devices:
        slices[slice_of(device)].append(device)
    data, fsdp, tensor = shape
    inner = data // len(slices), fsdp, tensor
    grids = [_box(slices[index], math.prod(inner)) for index in sorted(slices)]
    if any(grid is None for grid in grids):
        return None
    return np.concatenate([grid[_places(inner, grid.shape)] for grid in grids])


def slice_of(device: jax.Device) -> int:
    return getattr(device, "slice_index", 0)  # described devices of one slice have none


def factorisations(number: int, count: int) -> Iterator[tuple[int, ...]]:
    """All ways to write a number as a product of `count` ordered factors."""
    if count == 1:
        yield (number,)
        return
    for first in range(1, number + 1):
        if number % first == 0:
            yield from ((first, *rest) for rest in factorisations(number // first, count - 1))


def _box(devices: list[jax.Device], size: int) -> np.ndarray | None:
    """The most compact box of `size` devices: [X, Y, Z, cores of a chip]."""
    at = {(*device.coords, device.core_on_chip): device for device in devices}
    extent = np.ptp(list(at), axis=0) + 1
    for shape in sorted(factorisations(size, len(extent)), key=sum):
        if np.any(shape > extent):
            continue
        for corner in sorted(at):
            box = [at.get(tuple(np.add(corner, place))) for place in np.ndindex(shape)]
            if None not in box:
                return np.array(box, object).reshape(shape)
    return None


@functools.cache
def _places(shape: tuple[int, ...], grid: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Coordinates in the grid of each place of a mesh, one array for each side of the grid."""
    circumference = [size * wraps for size, wraps in zip(grid, _wraps(grid), strict=True)]
    best = None
    # factors[side][axis]: what an axis of the mesh takes of a side of the grid.
    for factors in itertools.product(*(factorisations(size, len(shape)) for size in grid)):
        if tuple(map(math.prod, zip(*factors, strict=True))) != shape:
            continue
        tours = []
        for axis in range(len(shape)):
            # A step along a side passes the boxes of the axes within.
            strides = [math.prod(of_side[axis + 1 :]) for of_side in factors]
            sizes = [of_side[axis] for of_side in factors]
            tours.append(_tour(tuple(zip(sizes, strides, circumference, strict=True))))
        hops, spreads, offsets = zip(*reversed(tours), strict=True)
        if best is None or (hops, spreads) < best[0]:
            best = (hops, spreads), offsets
    tensor, fsdp, data = best[1]
    places = data[:, None, None] + fsdp[:, None] + tensor
    return tuple(np.moveaxis(places, -1, 0))


def _wraps(grid: tuple[int, ...]) -> list[bool]:
    """Which sides of a grid of chips are closed to rings by a link.

    v4 and v5p: all sides of slices of whole 4 × 4 × 4 cubes (cloud.google.com/tpu/docs/v5p).
    v5e and v6e, which are flat: sides as long as the pod's, 16 (jax-ml.github.io/scaling-book).
    """
    *chips, _ = grid
    if chips[2] == 1:
        return [size >= 16 for size in chips] + [False]
    return [all(size % 4 == 0 for size in chips)] * 3 + [False]


@functools.cache
def _tour(sides: tuple[tuple[int, int, int], ...]) -> tuple[float, float, np.ndarray]:
    """A short closed tour of the devices along one axis of a mesh.

    Args:
      sides: for each side of their box its size, its stride in the grid, and the circumference of
        the grid's side, 0 where that is no ring.

    Returns:
      Mean hops between neighbours, mean hops between any two devices, and [devices, sides]
      coordinates from the first device.
    """
    sizes, strides, circumference = np.transpose(sides)

    def hops(a, b):
        steps = np.abs(a - b)
        return np.where(circumference, np.minimum(steps, circumference - steps), steps).sum(-1)

    tours = []
    for order in itertools.permutations(np.flatnonzero(sizes > 1)):
        # In a fixed order: all processes must choose the same of equals.
        for tour in (_snake, _ring) if order else (_snake,):
            places = np.zeros((math.prod(sizes), len(sides)), int)
            places[:, order] = tour(tuple(sizes[list(order)]))
            tours.append(places * strides)
    lengths = [hops(tour, np.roll(tour, -1, axis=0)).mean() for tour in tours]
    best = tours[np.argmin(lengths)]
    return min(lengths), hops(best[:, None], best).mean(), best


def _snake(sizes: tuple[int, ...]) -> np.ndarray:
    """[places, sides] a path through a grid in steps of one."""
    if not sizes:
        return np.zeros((1, 0), int)
    rest = _snake(sizes[1:])
    rows = [rest if i % 2 == 0 else rest[::-1] for i in range(sizes[0])]
    return np.concatenate([np.insert(row, 0, i, axis=1) for i, row in enumerate(rows)])


def _ring(sizes: tuple[int, ...]) -> np.ndarray:
    """[places, sides] a path that ends beside its start, where the first side is even."""
    rest = _snake(sizes[1:])
    rows, columns = range(sizes[0]), range(1, len(rest))
    # Away through all columns but the first, back through the first.
    away = [(i, j) for i in rows for j in (columns if i % 2 == 0 else columns[::-1])]
    path = [(0, 0), *away, *((i, 0) for i in rows[:0:-1])]
    return np.array([(i, *rest[j]) for i, j in path])
