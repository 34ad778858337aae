"""What one device receives in a collective of HLO, and along which axes of the mesh."""

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

from expert_iter.plan.hlo import Computation, Instruction

_NAMED = re.compile(r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\(([^{]*)\))?[^{]*\{([^}]*)\}")
_IOTA = re.compile(r"replica_groups=\[(\d+),(\d+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?")
COLLECTIVES = (
    "all-gather",
    "all-reduce",
    "reduce-scatter",
    "all-to-all",
    "ragged-all-to-all",
    "collective-permute",
    "collective-broadcast",
)


def received(
    of: Computation, i: Instruction, kind: str, mesh: Mapping[str, int]
) -> tuple[str, float]:
    """The axes, joined by '+', and the bytes that one device receives by the cheapest algorithm.

    kind: one of `COLLECTIVES`; mesh: sizes of its axes by name, the outermost first.
    """
    size, axes = _group(i.attributes, mesh)
    given = sum(a.bytes for operand in of.operands(i) for a in operand.arrays)
    factor = {
        "all-gather": size - 1,
        "all-reduce": 2 * (size - 1) / size,
        "reduce-scatter": (size - 1) / size,
        "all-to-all": (size - 1) / size,
        "ragged-all-to-all": (size - 1) / size,
    }.get(kind, 1)
    return axes, given * factor


def _group(attributes: str, mesh: Mapping[str, int]) -> tuple[int, str]:
    """How many devices take part in one exchange of a collective, and along which axes they lie."""
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
    else:
        listed = re.search(r"replica_groups=\{\{([\d,\s]+)\}", attributes)
        group = [int(n) for n in listed[1].split(",")]
    return len(group), "+".join(_axes(group, mesh))


def _iota(dims: str, turn: str | None) -> np.ndarray:
    """The numbers of `[4,2]T(1,0)`: counted in these dimensions, then transposed."""
    sizes = [int(size) for size in dims.split(",")]
    numbers = np.arange(math.prod(sizes)).reshape(sizes)
    return numbers.transpose([int(axis) for axis in turn.split(",")]) if turn else numbers


def _axes(group: Sequence[int], mesh: Mapping[str, int]) -> list[str]:
    """The axes along which devices of these numbers differ."""
    places = np.array(np.unravel_index(group, tuple(mesh.values())))
    return [axis for axis, at in zip(mesh, places, strict=True) if (at != at[0]).any()]
