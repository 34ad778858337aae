"""The exact number of moves from a state to a goal, to measure plans and values by."""

import functools
import heapq
from collections.abc import Iterator

from expert_iter.tasks.planning.blocks import State, goal_holds, make_state


@functools.lru_cache(maxsize=1 << 16)
def plan_length(state: State, goal: tuple[str, ...]) -> int:
    """The number of moves of a shortest plan.

    Args:
      state: any, also one with a block in the hand.
      goal: of blocks of that state, as in `blocks.Instance`. Every goal can be reached.

    Returns:
      0 where the goal holds already.
    """
    if goal_holds(state, goal):
        return 0
    if not state.holding:
        return 2 * _displacements(state.towers, goal)
    after = _placements(state.towers, state.holding, _supports(goal))
    return 1 + 2 * min(_displacements(towers, goal) for towers in after)


def _displacements(towers: tuple[str, ...], goal: tuple[str, ...]) -> int:
    """How many times a block is taken and placed, at least, until the goal holds.

    A* search (Hart et al. 1968). The bound is the number of blocks that must move. One displacement
    lowers it by 1 at most, so the first goal that is found is a nearest one.
    """
    supports = _supports(goal)
    bound = _must_move(towers, supports)
    nearest = {towers: 0}
    # Of equal sums, the state with the smaller bound comes first: it is nearer to the goal.
    frontier = [(bound, bound, towers)]
    while True:
        total, bound, towers = heapq.heappop(frontier)
        if bound == 0:
            return total
        count = total - bound + 1
        for i, tower in enumerate(towers):
            rest = towers[:i] + towers[i + 1 :] + (tower[:-1],) * (len(tower) > 1)
            for after in _placements(rest, tower[-1], supports):
                if count < nearest.get(after, count + 1):
                    nearest[after] = count
                    bound = _must_move(after, supports)
                    heapq.heappush(frontier, (count + bound, bound, after))


def _placements(
    towers: tuple[str, ...], block: str, supports: dict[str, str]
) -> Iterator[tuple[str, ...]]:
    """The towers after placing a block on the table, or on the block that the goal puts it on.

    No shortest plan needs more. A block that is placed on another one can be put on the table
    instead: it is then in nobody's way, and the goal loses nothing.
    """
    yield make_state([*towers, block]).towers
    for i, tower in enumerate(towers):
        if tower[-1] == supports.get(block):
            yield make_state([*towers[:i], *towers[i + 1 :], tower + block]).towers


def _supports(goal: tuple[str, ...]) -> dict[str, str]:
    """Which block the goal puts a block on."""
    return {upper: lower for part in goal for lower, upper in zip(part, part[1:], strict=False)}


def _must_move(towers: tuple[str, ...], supports: dict[str, str]) -> int:
    """How many blocks stand on the wrong block, or above one that does; 0 where the goal holds."""
    count = 0
    for tower in towers:
        lower = ""
        for height, block in enumerate(tower):
            if supports.get(block, lower) != lower:
                count += len(tower) - height
                break
            lower = block
    return count
