"""Bytes that an instruction of HLO reads from the device's main memory and writes to it."""

import math
import re

from expert_iter.plan.hlo import Computation, Instruction, Module

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


class MemoryTraffic:
    """Of the instructions of a module."""

    def __init__(self, module: Module):
        self._module = module
        self._read: dict[tuple[str, int], float] = {}

    def moved(self, of: Computation, i: Instruction) -> float:
        """Bytes that an instruction reads and writes."""
        if i.opcode in _FREE or i.opcode.endswith(("-done", "-update")):
            return 0.0
        if i.opcode == "custom-call" and '"AllocateBuffer"' in i.attributes:
            return 0.0
        operands = of.operands(i)
        if i.opcode.endswith("-start") and i.opcode != "async-start":
            results = i.arrays[len(operands) :]  # it repeats the operands first
            return sum(o.moved for o in operands) + max((a.moved for a in results), default=0.0)
        if i.opcode in ("fusion", "async-start"):
            name = i.called()[0]
            read = sum(min(self._reads(name, number), o.moved) for number, o in enumerate(operands))
            return read + self._writes(self._module.computations[name], i)
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
            of = self._module.computations[name]
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

    def _writes(self, of: Computation, i: Instruction) -> float:
        """Bytes that the fusion `i` of this computation writes."""
        root = of.root
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
            called = self._module.called(result)
            return self._written(called, called.root)
        return math.inf
