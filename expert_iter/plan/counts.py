"""Counts what a compiled program does, from the text of its optimised HLO.

XLA's own `cost_analysis` counts the body of a loop once. Here a body counts as often as it runs:
`known_trip_count` where XLA notes it, else the constant that the loop's condition compares its
counter with.

- FLOPs: of matrix products (`dot`, and `convolution`, which the TPU's compiler makes of them). All
  else is left out.
- Bytes: read from and written to the device's main memory. A slice counts as what it takes, an
  update in place as what it writes. Arrays that the compiler keeps on the chip (`S(1)` in a layout)
  and padding to tiles do not count.
- Collectives: bytes that one device receives, by the algorithm that moves least.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from expert_iter.plan.collectives import COLLECTIVES, received
from expert_iter.plan.hlo import Computation, Instruction, Module, parse
from expert_iter.plan.loops import trips
from expert_iter.plan.products import product_flops
from expert_iter.plan.traffic import MemoryTraffic

_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}|(?:true|false)_computation=%?([\w.\-]+)")


class Traffic(NamedTuple):
    """Collectives of one kind along the same axes.

    Attributes:
      count: how many are made.
      bytes: that one device receives in all of them.
    """

    count: float
    bytes: float


class Counts(NamedTuple):
    """What one device does in a run of a program.

    Attributes:
      flops: of matrix products.
      bytes: read from and written to main memory.
      collectives: by kind and axes of the mesh, such as ('all-gather', 'tensor').
      assumed: how many loops end by a condition that names no number of trips.
    """

    flops: float = 0.0
    bytes: float = 0.0
    collectives: Mapping[tuple[str, str], Traffic] = {}
    assumed: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        both = dict(self.collectives)
        for key, (count, size) in other.collectives.items():
            before = both.get(key, Traffic(0, 0))
            both[key] = Traffic(before.count + count, before.bytes + size)
        added = self.flops + other.flops, self.bytes + other.bytes
        return Counts(*added, both, self.assumed + other.assumed)

    def times(self, number: float) -> "Counts":
        """So many of them; a loop whose trips are assumed stays one."""
        moved = {
            k: Traffic(v.count * number, v.bytes * number) for k, v in self.collectives.items()
        }
        return Counts(self.flops * number, self.bytes * number, moved, self.assumed)

    @property
    def collective_bytes(self) -> float:
        return sum(traffic.bytes for traffic in self.collectives.values())


def count(text: str, mesh: Mapping[str, int], assumed_trips: Sequence[int] = ()) -> Counts:
    """Counts a program.

    Args:
      text: of the optimised module (`compiled.as_text()`).
      mesh: sizes of its axes by name, the outermost first, to name the axes of collectives.
      assumed_trips: trips of a loop whose condition names no number: the first for such loops that
        are in no other such loop, the second for those inside of one, and so on. 1 beyond the last.
    """
    return _Counter(parse(text), mesh, assumed_trips).entry()


class _Counter:
    """Walks the computations; each is counted once and multiplied where it is called."""

    def __init__(self, module: Module, mesh: Mapping[str, int], assumed: Sequence[int]):
        self._module, self._mesh, self._assumed = module, mesh, assumed
        self._memory = MemoryTraffic(module)
        self._counted: dict[tuple[str, int], Counts] = {}

    def entry(self) -> Counts:
        return self._computation(self._module.entry, 0)

    def _computation(self, name: str, depth: int) -> Counts:
        """depth: how many loops of unknown length it is inside of."""
        if (name, depth) not in self._counted:
            computation, total = self._module.computations[name], Counts()
            for instruction in computation.instructions.values():
                total += self._instruction(computation, instruction, depth)
            self._counted[name, depth] = total
        return self._counted[name, depth]

    def _instruction(self, of: Computation, i: Instruction, depth: int) -> Counts:
        if i.opcode == "while":
            return self._loop(i, depth)
        if i.opcode == "conditional":
            names = [name for found in _BRANCHES.findall(i.attributes) for name in found if name]
            names = [part.strip(" %") for name in names for part in name.split(",")]
            return max((self._computation(name, depth) for name in names), key=lambda c: c[:2])
        if i.opcode == "call":
            return sum((self._computation(name, depth) for name in i.called()), Counts())
        kind = i.opcode.removesuffix("-start")
        if kind in COLLECTIVES:
            return self._collective(of, i, kind) + Counts(bytes=self._memory.moved(of, i))
        if i.opcode == "fusion" or i.opcode == "async-start":
            inside = sum((self._inside(name) for name in i.called()), Counts())
            return inside + Counts(bytes=self._memory.moved(of, i))
        return Counts(product_flops(of, i), self._memory.moved(of, i))

    def _inside(self, name: str) -> Counts:
        """Products and collectives of a fusion. One collective that goes on beside several fusions
        stands in each of them: where it starts it is counted.
        """
        computation = self._module.computations[name]
        ops = computation.instructions.values()
        goes_on = "async_collective_fusion" in name or any(
            'custom_call_target="AsyncCollectiveDone"' in i.attributes for i in ops
        )
        total = Counts()
        for i in ops:
            if i.opcode == "fusion":
                total += sum((self._inside(called) for called in i.called()), Counts())
            elif i.opcode in COLLECTIVES:
                # A sum of which each device keeps its part: the TPU's reduce-scatter.
                kept = i.opcode == "all-reduce" and "all-reduce-scatter" in name
                kind = "reduce-scatter" if kept else i.opcode
                total += Counts() if goes_on else self._collective(computation, i, kind)
            else:
                total += Counts(product_flops(computation, i))
        return total

    def _loop(self, loop: Instruction, depth: int) -> Counts:
        number = trips(self._module, loop)
        unknown = number is None
        inside = sum((self._computation(name, depth + unknown) for name in loop.called()), Counts())
        if unknown:
            number = self._assumed[depth] if depth < len(self._assumed) else 1
        return inside.times(number) + Counts(assumed=int(unknown))

    def _collective(self, of: Computation, i: Instruction, kind: str) -> Counts:
        axes, size = received(of, i, kind, self._mesh)
        return Counts(collectives={(kind, axes): Traffic(1, size)})
