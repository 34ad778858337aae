"""Reads the text of optimised HLO: computations, their instructions, and the shapes of arrays."""

import functools
import math
import re
from typing import NamedTuple

_BITS = {"pred": 8, "token": 0, "c64": 64, "c128": 128}
_ARRAY = re.compile(r"([a-z]+\d*[a-z\d]*)\[([\d,<=]*)\](?:\{([^{}]*)\})?")
_SPACE = re.compile(r"S\((\d+)\)")
_INSTRUCTION = re.compile(r"\s+(ROOT )?%?([\w.\-]+) = (.*)$")
_COMPUTATION = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
_CALLED = re.compile(r"(?:calls|to_apply|body|condition)=%?([\w.\-]+)")
_NAME = re.compile(r"%([\w.\-]+)")


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
    """A function of HLO.

    Attributes:
      instructions: by name, in order.
      result: name of the instruction that is the function's result.
    """

    instructions: dict[str, Instruction]
    result: str

    @property
    def root(self) -> Instruction:
        return self.instructions[self.result]

    def operands(self, instruction: Instruction) -> list[Instruction]:
        return [self.instructions[name] for name in instruction.operands]


class Module(NamedTuple):
    """A program.

    Attributes:
      computations: by name.
      entry: name of the one that is run.
    """

    computations: dict[str, Computation]
    entry: str

    def called(self, instruction: Instruction) -> Computation:
        """The computation of a fusion."""
        return self.computations[instruction.called()[0]]


def parse(text: str) -> Module:
    """text: of an optimised module (`compiled.as_text()`)."""
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
    return Module(computations, entry)


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
