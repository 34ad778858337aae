"""What a plan of memory is made of: parts, and the phases of a run in which they lie side by side.

All of it is arithmetic on shapes; nothing is compiled and no device is needed.
"""

import math
from typing import Any, NamedTuple

import jax
import numpy as np

WAITING = "optimizer, which waits"  # the one part of a phase that its program does not see


class Part(NamedTuple):
    """bytes: on one device."""

    name: str
    bytes: float


class Phase(NamedTuple):
    """What one device holds at the fullest moment of a phase. settings: those that make it smaller,
    the gentlest first.
    """

    name: str
    parts: tuple[Part, ...]
    settings: tuple[str, ...]

    @property
    def bytes(self) -> float:
        return sum(part.bytes for part in self.parts)

    @property
    def program_bytes(self) -> float:
        """Of the compiled program: its arguments, its results and its temporary buffers."""
        return sum(part.bytes for part in self.parts if part.name != WAITING)


class Moment(NamedTuple):
    """A moment of a program; those of one program share their memory. before_loop: the pool of
    pages and the trees are not there yet.
    """

    name: str
    bytes: float
    before_loop: bool = False


def whole_bytes(tree: Any) -> int:
    """Of a tree of (abstract) arrays, uncut."""
    return sum(leaf.size * np.dtype(leaf.dtype).itemsize for leaf in jax.tree.leaves(tree))


def held_bytes(tree: Any, shardings: Any) -> int:
    """Of a tree of (abstract) arrays, what one device holds under these shardings."""

    def held(leaf, sharding):
        return math.prod(sharding.shard_shape(leaf.shape)) * np.dtype(leaf.dtype).itemsize

    return sum(jax.tree.leaves(jax.tree.map(held, tree, shardings)))
