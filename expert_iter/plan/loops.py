"""How often the body of a loop runs, by its condition in HLO."""

import re
from collections.abc import Sequence

from expert_iter.plan.hlo import Computation, Instruction, Module

_ALIASES = ("bitcast", "copy", "convert", "reshape")  # of a loop's counter


def trips(module: Module, loop: Instruction) -> int | None:
    """At most; None where the condition does not compare a counter with a constant.

    XLA notes the number for CPUs. For TPUs the condition tells: our counters begin at 0 and go up
    by 1.
    """
    if known := re.search(r'"known_trip_count":\{"n":"(\d+)"', loop.attributes):
        return int(known[1])
    condition = re.search(r"condition=%?([\w.\-]+)", loop.attributes)[1]
    tests = module.computations[condition]
    return _bound(module, tests, tests.root, ())


def _bound(
    module: Module, of: Computation, test: Instruction, given: Sequence[Instruction]
) -> int | None:
    """The least constant that a part of the loop's state must be less than.

    given: where `of` is a fusion, where its parameters come from.
    """
    operands = of.operands(test)
    if test.opcode == "fusion":
        called = module.called(test)
        return _bound(module, called, called.root, [_origin(of, o, given) for o in operands])
    if test.opcode in ("and", *_ALIASES):
        found = [_bound(module, of, operand, given) for operand in operands]
        return min((bound for bound in found if bound is not None), default=None)
    if test.opcode == "compare" and "direction=LT" in test.attributes:
        counter, most = (_origin(of, operand, given) for operand in operands)
        if counter.opcode == "get-tuple-element" and most.opcode == "constant":
            return int(most.argument) if re.fullmatch(r"\d+", most.argument) else None
    return None


def _origin(of: Computation, i: Instruction, given: Sequence[Instruction]) -> Instruction:
    if i.opcode in _ALIASES:
        return _origin(of, of.operands(i)[0], given)
    if i.opcode == "parameter" and given:
        return given[int(i.argument)]
    return i
