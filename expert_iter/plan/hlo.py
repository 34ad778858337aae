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

import functools
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

_BITS = {"pred": 8, "token": 0, "c64": 64, "c128": 128}
_ARRAY = re.compile(r"([a-z]+\d*[a-z\d]*)\[([\d,<=]*)\](?:\{([^{}]*)\})?")
_SPACE = re.compile(r"S\((\d+)\)")
_INSTRUCTION = re.compile(r"\s+(ROOT )?%?([\w.\-]+) = (.*)$")
_COMPUTATION = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
_CALLED = re.compile(r"(?:calls|to_apply|body|condition)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}|(?:true|false)_computation=%?([\w.\-]+)")
_NAME = re.compile(r"%([\w.\-]+)")
_GEMM = re.compile(r'"dot_dimension_numbers":(\{.*?\})')  # of a GPU library's product
_NAMED = re.compile(r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\(([^{]*)\))?[^{]*\{([^}]*)\}")
_IOTA = re.compile(r"replica_groups=\[(\d+),(\d+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?")

_COLLECTIVES = (
    "all-gather",
    "all-reduce",
    "reduce-scatter",
    "all-to-all",
    "ragged-all-to-all",
    "collective-permute",
    "collective-broadcast",
)
# Instructions that move nothing: names for what is there, or the second half of a pair.
_FREE = {
    "parameter",
    "constant",
    "tuple",
    "get-tuple-element",
    "bitcast",
    "after-all",
    "opt-barrier",
    "optimization-barrier",
    "partition-id",
    "replica-id",
    "iota",
    "while",
    "conditional",
    "call",
}
_SLICES = ("dynamic-slice", "slice", "gather")
_ALIASES = ("bitcast", "copy", "convert", "reshape", "transpose")  # of a loop's counter


class Array(NamedTuple):
    """The shape of an array in HLO.

    Attributes:
      dtype: such as 'bf16'.
      dims: sizes.
      space: memory in which it lies; 0 is the device's main memory.
    """

    dtype: str
    dims: tuple[int, ...]
    space: int

    @property
    def bytes(self) -> float:
        bits = _BITS.get(self.dtype)
        if bits is None:
            number = re.search(r"\d+", self.dtype)  # f8e4m3fn has 8 bits
            bits = int(number.group()) if number else 0
        return math.prod(self.dims) * bits / 8

    @property
    def moved(self) -> float:
        """Bytes in main memory."""
        return 0.0 if self.space else self.bytes


class Instruction(NamedTuple):
    """One line of HLO.

    Attributes:
      name, opcode: its name and what it does.
      arrays: its result, a tuple flattened.
      operands: names of instructions of the same computation.
      argument: the text between its parentheses.
      attributes: the text after them.
    """

    name: str
    opcode: str
    arrays: tuple[Array, ...]
    operands: tuple[str, ...]
    argument: str
    attributes: str

    @property
    def moved(self) -> float:
        return sum(array.moved for array in self.arrays)

    def called(self) -> list[str]:
        return _CALLED.findall(self.attributes)


class Computation(NamedTuple):
    """A function of HLO: its instructions by name, in order, and the name of the last."""

    instructions: dict[str, Instruction]
    root: str

    def operands(self, instruction: Instruction) -> list[Instruction]:
        return [self.instructions[name] for name in instruction.operands]


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
    return _Counter(*_parse(text), dict(mesh), tuple(assumed_trips)).entry()


def _parse(text: str) -> tuple[dict[str, Computation], str]:
    """The computations by name, and the name of the one that is run."""
    computations, entry = {}, ""
    name, instructions, root = "", {}, ""
    for line in text.splitlines():
        if not line.startswith((" ", "}")) and (head := _COMPUTATION.match(line)):
            name, instructions, root = head[2], {}, ""
            entry = name if head[1] else entry
        elif line.startswith("}") and name:
            computations[name] = Computation(instructions, root)
            name = ""
        elif name and (found := _INSTRUCTION.match(line)):
            instruction = _instruction(found[2], found[3])
            instructions[instruction.name] = instruction
            root = instruction.name if found[1] else root
    return computations, entry


def _instruction(name: str, rest: str) -> Instruction:
    end = _closing(rest, 0) if rest.startswith("(") else rest.index(" ")
    kind, rest = rest[:end], rest[end:].lstrip()
    opening = rest.index("(")
    closing = _closing(rest, opening)
    argument = rest[opening + 1 : closing - 1]
    return Instruction(
        name,
        rest[:opening],
        _arrays(kind),
        tuple(_NAME.findall(argument)),
        argument,
        rest[closing:],
    )


def _closing(text: str, start: int) -> int:
    """The place after the parenthesis that closes the one at `start`."""
    depth = 0
    for at in range(start, len(text)):
        depth += (text[at] == "(") - (text[at] == ")")
        if not depth:
            return at + 1
    raise ValueError(f"unbalanced parentheses in HLO: {text[:80]}")


@functools.lru_cache(1 << 14)
def _arrays(kind: str) -> tuple[Array, ...]:
    def array(dtype, dims, layout):
        space = _SPACE.search(layout or "")
        sizes = tuple(int(d.lstrip("<=")) for d in dims.split(",") if d)
        return Array(dtype, sizes, int(space[1]) if space else 0)

    return tuple(array(*found) for found in _ARRAY.findall(kind))


class _Counter:
    """Walks the computations; each is counted once and multiplied where it is called."""

    def __init__(self, computations, entry: str, mesh: dict[str, int], assumed: tuple[int, ...]):
        self.computations, self._entry = computations, entry
        self._mesh, self._assumed = mesh, assumed
        self._counted: dict[tuple[str, int], Counts] = {}
        self._read: dict[tuple[str, int], float] = {}

    def entry(self) -> Counts:
        return self._computation(self._entry, 0)

    def _computation(self, name: str, depth: int) -> Counts:
        """depth: how many loops of unknown length it is inside of."""
        if (name, depth) not in self._counted:
            computation, total = self.computations[name], Counts()
            for instruction in computation.instructions.values():
                total += self._instruction(computation, instruction, depth)
            self._counted[name, depth] = total
        return self._counted[name, depth]

    def _instruction(self, of: Computation, i: Instruction, depth: int) -> Counts:
        if i.opcode == "while":
            return self._loop(of, i, depth)
        if i.opcode == "conditional":
            names = [name for found in _BRANCHES.findall(i.attributes) for name in found if name]
            names = [part.strip(" %") for name in names for part in name.split(",")]
            return max((self._computation(name, depth) for name in names), key=lambda c: c[:2])
        if i.opcode == "call":
            return sum((self._computation(name, depth) for name in i.called()), Counts())
        kind = i.opcode.removesuffix("-start")
        if kind in _COLLECTIVES:
            return self._collective(of, i, kind) + Counts(bytes=self._moved(of, i))
        if i.opcode == "fusion" or i.opcode == "async-start":
            inside = sum((self._inside(name) for name in i.called()), Counts())
            return inside + Counts(bytes=self._moved(of, i))
        return Counts(self._flops(of, i), self._moved(of, i))

    def _inside(self, name: str) -> Counts:
        """Products and collectives of a fusion. One collective that goes on beside several fusions
        stands in each of them: where it starts it is counted.
        """
        computation = self.computations[name]
        ops = computation.instructions.values()
        goes_on = "async_collective_fusion" in name or any(
            'custom_call_target="AsyncCollectiveDone"' in i.attributes for i in ops
        )
        total = Counts()
        for i in ops:
            if i.opcode == "fusion":
                total += sum((self._inside(called) for called in i.called()), Counts())
            elif i.opcode in _COLLECTIVES:
                # A sum of which each device keeps its part: the TPU's reduce-scatter.
                kept = i.opcode == "all-reduce" and "all-reduce-scatter" in name
                kind = "reduce-scatter" if kept else i.opcode
                total += Counts() if goes_on else self._collective(computation, i, kind)
            else:
                total += Counts(self._flops(computation, i))
        return total

    # Loops

    def _loop(self, of: Computation, loop: Instruction, depth: int) -> Counts:
        condition, body = (
            re.search(rf"{part}=%?([\w.\-]+)", loop.attributes)[1] for part in ("condition", "body")
        )
        trips = self._trips(of, loop, condition, body)
        if trips is None:
            trips = self._assumed[depth] if depth < len(self._assumed) else 1
            inside = self._computation(body, depth + 1) + self._computation(condition, depth + 1)
            return inside.times(trips) + Counts(assumed=1)
        return (self._computation(body, depth) + self._computation(condition, depth)).times(trips)

    def _trips(self, of: Computation, loop: Instruction, condition: str, body: str) -> int | None:
        """At most; None where the condition does not compare a counter with a constant."""
        if known := re.search(r'"known_trip_count":\{"n":"(\d+)"', loop.attributes):
            return int(known[1])
        tests = self.computations[condition]
        bound = self._bound(tests, tests.instructions[tests.root], {})
        if bound is None:
            return None
        index, most = bound
        return max(math.ceil((most - self._begin(of, loop, index)) / self._step(body, index)), 0)

    def _bound(self, of: Computation, i: Instruction, outer: dict) -> tuple[int, int] | None:
        """Which part of the loop's state is compared, and with which constant.

        outer: where `of` is a fusion, the computation that calls it and the operands it gives.
        """
        operands = of.operands(i)
        if i.opcode in ("and", *_ALIASES):
            found = [self._bound(of, operand, outer) for operand in operands]
            return min((f for f in found if f), key=lambda f: f[1], default=None)
        if i.opcode == "fusion":
            called = self.computations[i.called()[0]]
            given = {"caller": of, "operands": operands, "outer": outer}
            return self._bound(called, called.instructions[called.root], given)
        if i.opcode == "parameter" and outer:
            operand = outer["operands"][int(i.argument)]
            return self._bound(outer["caller"], operand, outer["outer"])
        if i.opcode == "compare":
            left, right = (self._source(of, operand, outer) for operand in operands)
            less = re.search(r"direction=(\w+)", i.attributes)[1]
            if less in ("GT", "GE"):
                left, right, less = right, left, {"GT": "LT", "GE": "LE"}[less]
            if less in ("LT", "LE", "NE") and left and right:
                if left[0] == "state" and right[0] == "constant":
                    return left[1], right[1] + (less == "LE")
        return None

    def _source(self, of: Computation, i: Instruction, outer: dict) -> tuple[str, int] | None:
        """A scalar's origin: ('state', part of the loop's state) or ('constant', its value)."""
        if i.opcode == "constant" and re.fullmatch(r"-?\d+", i.argument):
            return "constant", int(i.argument)
        if i.opcode == "get-tuple-element":
            return "state", int(re.search(r"index=(\d+)", i.attributes)[1])
        if i.opcode in _ALIASES:
            return self._source(of, of.operands(i)[0], outer)
        if i.opcode == "parameter" and outer:
            operand = outer["operands"][int(i.argument)]
            return self._source(outer["caller"], operand, outer["outer"])
        return None

    def _begin(self, of: Computation, loop: Instruction, index: int) -> int:
        """The counter before the loop; 0 where it is not a constant."""
        state = of.operands(loop)[0]
        if state.opcode == "tuple" and index < len(state.operands):
            source = self._source(of, of.operands(state)[index], {})
            return source[1] if source and source[0] == "constant" else 0
        return 0

    def _step(self, body: str, index: int) -> int:
        """What a trip adds to the counter; 1 where it cannot be read."""
        of = self.computations[body]
        state = of.instructions[of.root]
        if state.opcode != "tuple" or index >= len(state.operands):
            return 1
        counter = of.operands(state)[index]
        if counter.opcode == "fusion":
            of = self.computations[counter.called()[0]]
            counter = of.instructions[of.root]
        if counter.opcode != "add":
            return 1
        sources = (self._source(of, operand, {}) for operand in of.operands(counter))
        steps = [source[1] for source in sources if source and source[0] == "constant"]
        return steps[0] if len(steps) == 1 and steps[0] > 0 else 1

    # Products

    def _flops(self, of: Computation, i: Instruction) -> float:
        if i.opcode == "dot":
            left = of.operands(i)[0].arrays[0].dims
            contracted = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", i.attributes)
            axes = [int(axis) for axis in contracted[1].split(",") if axis] if contracted else []
            return 2.0 * math.prod(i.arrays[0].dims) * math.prod(left[axis] for axis in axes)
        if i.opcode == "convolution":
            left, right = (operand.arrays[0].dims for operand in of.operands(i))
            return _convolution(left, right, i.arrays[0].dims, i.attributes)
        if i.opcode == "custom-call" and (gemm := _GEMM.search(i.attributes)):
            left = of.operands(i)[0].arrays[0].dims
            axes = json.loads(gemm[1]).get("lhs_contracting_dimensions", ())
            return 2.0 * math.prod(i.arrays[0].dims) * math.prod(left[int(axis)] for axis in axes)
        return 0.0

    # Memory

    def _moved(self, of: Computation, i: Instruction) -> float:
        if i.opcode in _FREE or i.opcode.endswith(("-done", "-update")):
            return 0.0
        if i.opcode == "custom-call" and '"AllocateBuffer"' in i.attributes:
            return 0.0
        operands = of.operands(i)
        if i.opcode.endswith("-start") and i.opcode != "async-start":
            results = i.arrays[len(operands) :]  # it repeats the operands first
            return sum(o.moved for o in operands) + max((a.moved for a in results), default=0.0)
        if i.opcode in ("fusion", "async-start"):
            called = i.called()[0]
            read = sum(
                min(self._reads(called, number), o.moved) for number, o in enumerate(operands)
            )
            return read + self._writes(called, i)
        if i.opcode in _SLICES:
            return i.moved + (0.0 if operands[0].arrays[0].space else i.arrays[0].bytes)
        if i.opcode == "dynamic-update-slice":
            return operands[1].moved + (0.0 if i.arrays[0].space else operands[1].arrays[0].bytes)
        if i.opcode == "scatter":
            updates = operands[-1]
            return updates.moved + (0.0 if i.arrays[0].space else updates.arrays[0].bytes)
        return sum(o.moved for o in operands) + i.moved

    def _reads(self, name: str, number: int) -> float:
        """At most so many bytes of its parameter are read by a fusion."""
        if (name, number) not in self._read:
            of = self.computations[name]
            parameter = next(
                i
                for i in of.instructions.values()
                if i.opcode == "parameter" and int(i.argument) == number
            )
            self._read[name, number] = self._read_of(of, parameter)
        return self._read[name, number]

    def _read_of(self, of: Computation, source: Instruction) -> float:
        total = 0.0
        for user in of.instructions.values():
            for place, operand in enumerate(user.operands):
                if operand != source.name:
                    continue
                if user.opcode == "bitcast":
                    total += self._read_of(of, user)
                elif user.opcode in _SLICES and place == 0:
                    total += user.arrays[0].bytes
                elif user.opcode in ("dynamic-update-slice", "scatter") and place == 0:
                    pass  # changed in place
                elif user.opcode == "fusion":
                    total += self._reads(user.called()[0], place)
                else:
                    return math.inf
        return total

    def _writes(self, name: str, i: Instruction) -> float:
        """Bytes that the fusion `i` of this computation writes."""
        of = self.computations[name]
        root = of.instructions[of.root]
        results = of.operands(root) if root.opcode == "tuple" else [root]
        if len(results) != len(i.arrays):
            return i.moved
        aliased = {
            int(found or 0) for found in re.findall(r"\{(\d*)\}: \(\d+, \{[\d,]*\}\)", i.attributes)
        }
        return sum(
            min(self._written(of, result), array.bytes)
            for place, (result, array) in enumerate(zip(results, i.arrays, strict=True))
            if not array.space and (place not in aliased or result.opcode != "parameter")
        )

    def _written(self, of: Computation, result: Instruction) -> float:
        if result.opcode == "dynamic-update-slice":
            return of.operands(result)[1].arrays[0].bytes
        if result.opcode == "scatter":
            return of.operands(result)[-1].arrays[0].bytes
        if result.opcode == "bitcast":
            return self._written(of, of.operands(result)[0])
        if result.opcode == "fusion":
            called = self.computations[result.called()[0]]
            return self._written(called, called.instructions[called.root])
        return math.inf

    # Collectives

    def _collective(self, of: Computation, i: Instruction, kind: str) -> Counts:
        size, axes = _group(i.attributes, self._mesh)
        given = sum(a.bytes for operand in of.operands(i) for a in operand.arrays)
        received = {
            "all-gather": given * (size - 1),
            "all-reduce": 2 * given * (size - 1) / size,
            "reduce-scatter": given * (size - 1) / size,
            "all-to-all": given * (size - 1) / size,
            "ragged-all-to-all": given * (size - 1) / size,
        }.get(kind, given)
        return Counts(collectives={(kind, axes): Traffic(1, received)})


def _convolution(left, right, out, attributes: str) -> float:
    """Of the products with numbers that are there: with dilated inputs most are not, and so the
    TPU's compiler writes a batch of products.
    """
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", attributes)
    of_left, of_right, of_out = (
        dict(zip(label, dims, strict=True))
        for label, dims in zip(labels.groups(), (left, right, out), strict=True)
    )
    found = re.search(r"window=\{([^}]*)\}", attributes)
    window = dict(part.split("=") for part in found[1].split()) if found else {}
    batch_groups = re.search(r"batch_group_count=(\d+)", attributes)

    def along(key: str, axis: int, default: int) -> int:
        return int(window[key].split("x")[axis]) if key in window else default

    products = 1
    for axis in range(len(left) - 2):
        inside, outside = of_left[str(axis)], of_out[str(axis)]
        before = int(window["pad"].split("x")[axis].split("_")[0]) if "pad" in window else 0
        dilation = along("lhs_dilate", axis, 1)
        at = (
            np.arange(outside)[:, None] * along("stride", axis, 1)
            + np.arange(along("size", axis, 1))[None] * along("rhs_dilate", axis, 1)
            - before
        )
        there = (at >= 0) & (at % dilation == 0) & (at // dilation < inside)
        products *= int(there.sum())
    batch = of_out["b"] / (int(batch_groups[1]) if batch_groups else 1)
    return 2.0 * batch * of_out["f"] * of_right["i"] * products


def _group(attributes: str, mesh: dict[str, int]) -> tuple[int, str]:
    """How many devices take part in one exchange of a collective, and along which axes they lie."""
    everyone = math.prod(mesh.values())
    if pairs := re.search(r"source_target_pairs=\{(\{[\d,{}\s]*\})\}", attributes):
        moves = [[int(n) for n in pair] for pair in re.findall(r"\{(\d+),(\d+)\}", pairs[1])]
        changed = {axis for pair in moves for axis in _axes(pair, mesh)}
        return 2, "+".join(axis for axis in mesh if axis in changed)
    if named := _NAMED.search(attributes):
        sizes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", named[1])}
        chosen = re.findall(r"'(\w+)'(?::\(\d+\)(\d+))?", named[3])
        if any(part for _, part in chosen):
            return math.prod(int(part or sizes[name]) for name, part in chosen), "a part of an axis"
        turned = re.match(r"\[([\d,]+)\](?:T\(([\d,]+)\))?$", named[2] or "")
        ids = _iota(*turned.groups()) if turned else np.arange(math.prod(sizes.values()))
        grid = ids.reshape(tuple(sizes.values()))
        at = tuple(slice(None) if name in dict(chosen) else 0 for name in sizes)
        group = grid[at].ravel().tolist()
    elif iota := _IOTA.search(attributes):
        groups, size, dims, turn = iota.groups()
        group = _iota(dims, turn).reshape(int(groups), int(size))[0].tolist()
    elif listed := re.search(r"replica_groups=\{\{([\d,\s]+)\}", attributes):
        group = [int(n) for n in listed[1].split(",")]
    else:
        group = list(range(everyone))
    return len(group), "+".join(_axes(group, mesh))


def _iota(dims: str, turn: str | None) -> np.ndarray:
    """The numbers of `[4,2]T(1,0)`: counted in these dimensions, then transposed."""
    sizes = [int(size) for size in dims.split(",")]
    numbers = np.arange(math.prod(sizes)).reshape(sizes)
    return numbers.transpose([int(axis) for axis in turn.split(",")]) if turn else numbers


def _axes(group: Sequence[int], mesh: dict[str, int]) -> list[str]:
    """The axes along which devices of these numbers differ."""
    if max(group) >= math.prod(mesh.values()):
        return ["all"]
    places = np.array(np.unravel_index(group, tuple(mesh.values())))
    return [axis for axis, at in zip(mesh, places, strict=True) if (at != at[0]).any()]
