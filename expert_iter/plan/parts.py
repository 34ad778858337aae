"""What a plan of memory is made of: parts, and the phases of a run in which they lie side by side.

All of it is arithmetic on shapes; nothing is compiled and no device is needed.
"""

import math
from typing import Any, NamedTuple

import jax
import numpy as np

# Parts of a phase that its program does not see.
WAITING, IN_FLIGHT = "optimizer, which waits", "other batches in flight, which wait"


# Bytes by the TPU's compiler are so many times those by arithmetic at most, on the configs of pods
# (benchmarks/plans.py).
_MOST = 1.11


class Part(NamedTuple):
    """What one thing takes.

    Attributes:
      name: of the thing.
      bytes: on one device.
    """

    name: str
    bytes: float


class Phase(NamedTuple):
    """What one device holds at the fullest moment of a phase of a run.

    Attributes:
      name: of the phase.
      parts: what it holds.
      settings: names of settings that make it smaller, the gentlest first.
    """

    name: str
    parts: tuple[Part, ...]
    settings: tuple[str, ...]

    @property
    def bytes(self) -> float:
        return sum(part.bytes for part in self.parts)

    @property
    def most(self) -> float:
        """Bytes that TPUs may need."""
        return self.bytes * _MOST

    @property
    def program_bytes(self) -> float:
        """Of the compiled program: its arguments, its results and its temporary buffers."""
        return sum(part.bytes for part in self.parts if part.name not in (WAITING, IN_FLIGHT))


class Moment(NamedTuple):
    """A moment of a program. The moments of one program share their memory.

    Attributes:
      name: what the program does then.
      bytes: on one device.
      before_loop: bool. The pool of pages and the trees do not exist yet.
    """

    name: str
    bytes: float
    before_loop: bool = False


def whole_bytes(tree: Any) -> int:
    """Of a tree of (abstract) arrays."""
    return sum(leaf.size * np.dtype(leaf.dtype).itemsize for leaf in jax.tree.leaves(tree))


def held_bytes(tree: Any, shardings: Any) -> int:
    """Of a tree of (abstract) arrays, what one device holds under these shardings."""

    def held(leaf, sharding):
        return math.prod(sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize

    return sum(jax.tree.leaves(jax.tree.map(held, tree, shardings)))
