"""The rules of the blocks world, and how its states and moves are written.

    state a b | c goal c b        the prompt: towers from the bottom up, and what they must hold
    unstack b from a              a move
    state a | c holding b         the state after it, which the world writes
    stack b on c
    state a | c b                 the goal holds, so nothing follows

The moves are those of the PDDL domain blocksworld-4ops.
"""

import re
from collections.abc import Iterable
from string import ascii_lowercase
from typing import NamedTuple

from expert_iter.tasks.world import GOES_ON, OVER, Observation

BLOCKS = ascii_lowercase  # every name of a block


class State(NamedTuple):
    """Where the blocks are. Each is a letter.

    Attributes:
      towers: sorted. A tower names its blocks from the bottom up: in "ab" b is on a.
      holding: the block in the hand; '' if the hand is empty.
    """

    towers: tuple[str, ...]
    holding: str = ""


class Instance(NamedTuple):
    """A problem of planning. The number of its shortest plan's moves is `plan_length(*instance)`.

    Attributes:
      start: the state before the first move.
      goal: sorted parts of towers, each of two blocks or more. "ab" asks for b on a. It does not
        ask for a on the table, nor for nothing on b.
    """

    start: State
    goal: tuple[str, ...]


class Play(NamedTuple):
    """Legal moves with the world's answers.

    Attributes:
      text: each move and the state after it, a line each.
      solved: whether the goal holds after the last move.
    """

    text: str
    solved: bool


def make_state(towers: Iterable[str], holding: str = "") -> State:
    return State(tuple(sorted(towers)), holding)


def make_instance(start: State, goal: Iterable[str]) -> Instance:
    """Raises ValueError, with the reason, where the goal is impossible or holds already."""
    goal = tuple(sorted(goal))
    unknown = set("".join(goal)) - set("".join(start.towers) + start.holding)
    if unknown:
        raise ValueError(f"the start has no block {min(unknown)}")
    if not all(len(part) > 1 for part in goal):
        raise ValueError("a part of the goal is a single block")
    if goal_holds(start, goal):
        raise ValueError("the goal holds at the start")
    return Instance(start, goal)


def goal_holds(state: State, goal: tuple[str, ...]) -> bool:
    return all(any(part in tower for tower in state.towers) for part in goal)


def successors(state: State) -> dict[str, State]:
    """All legal moves, each with the state after it."""
    towers, held = state
    after = {}
    if held:
        after[f"put down {held}"] = make_state([*towers, held])
    for i, tower in enumerate(towers):
        others, top = towers[:i] + towers[i + 1 :], tower[-1]
        if held:
            after[f"stack {held} on {top}"] = make_state([*others, tower + held])
        elif len(tower) == 1:
            after[f"pick up {top}"] = make_state(others, top)
        else:
            after[f"unstack {top} from {tower[-2]}"] = make_state([*others, tower[:-1]], top)
    return after


def observation(state: State, goal: tuple[str, ...]) -> Observation:
    """What the world writes behind a move that leads to `state`."""
    if goal_holds(state, goal):
        return Observation(state_text(state), OVER)
    return Observation(state_text(state) + "\n", GOES_ON)


def play(instance: Instance, moves: Iterable[str]) -> Play | None:
    """Makes moves until the last one, or None where one is illegal or comes after the goal."""
    state, goal = instance
    lines, status = [], GOES_ON
    for move in moves:
        state = successors(state).get(move)
        if state is None or status == OVER:
            return None
        answer, status = observation(state, goal)
        lines.append(f"{move}\n{answer}")
    return Play("".join(lines), status == OVER)


def state_text(state: State) -> str:
    return f"state {_towers_text(state.towers)}" + f" holding {state.holding}" * bool(state.holding)


def prompt(instance: Instance) -> str:
    """The instance as the network reads it."""
    return f"{state_text(instance.start)} goal {_towers_text(instance.goal)}\n"


def read_state(text: str) -> State:
    """Inverse of `state_text`. Raises ValueError, with the reason, for any other text."""
    match = re.fullmatch(r"state\s(.*?)(?:\sholding\s(.*))?", text.strip(), re.DOTALL)
    if match is None:
        raise ValueError("it does not begin with 'state'")
    towers, holding = match.groups()
    towers = _read_towers(towers)
    if holding is None:
        return State(towers)
    holding = holding.strip()
    if holding not in set(BLOCKS) - set("".join(towers)):
        raise ValueError(f"{holding!r} cannot be in the hand")
    return State(towers, holding)


def read_instance(text: str) -> Instance:
    """Inverse of `prompt`. Raises ValueError, with the reason, for any other text."""
    start, has_goal, goal = text.partition(" goal ")
    if not has_goal:
        raise ValueError("there is no goal")
    return make_instance(read_state(start), _read_towers(goal))


def _towers_text(towers: Iterable[str]) -> str:
    return " | ".join(" ".join(tower) for tower in towers)


def _read_towers(text: str) -> tuple[str, ...]:
    towers = [part.split() for part in text.split("|")]
    every = [block for tower in towers for block in tower]
    if not all(towers):
        raise ValueError("a tower has no block")
    for block in every:
        if block not in set(BLOCKS):
            raise ValueError(f"{block!r} is not a block, which is a letter from a to z")
        if every.count(block) > 1:
            raise ValueError(f"the block {block} is there twice")
    return tuple(sorted(map("".join, towers)))
