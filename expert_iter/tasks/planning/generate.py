"""Random instances and random plays of the blocks world, and the split of an instance."""

import functools
import hashlib
import math

import numpy as np

from expert_iter.tasks.planning.blocks import (
    BLOCKS,
    Instance,
    State,
    goal_holds,
    make_state,
    play,
    successors,
)


def split_of(instance: Instance) -> str:
    """By a hash: 80% training, 10% validation, 10% test.

    It does not depend on the blocks' names, so a held-out problem is no training problem with other
    names. Nor does it depend on a seed, so no run trains on another's test problems.
    """
    start, goal = instance
    # A block without its name: where the goal puts it, in a tower of which height.
    role = {block: (len(part), i) for part in goal for i, block in enumerate(part)}
    shape = sorted([role.get(block, (0, 0)) for block in tower] for tower in start.towers)
    digest = hashlib.blake2b(repr(shape).encode(), digest_size=4).digest()
    tenth = int.from_bytes(digest, "big") % 10
    return "test" if tenth == 0 else "validation" if tenth == 1 else "train"


def random_instance(rng: np.random.Generator, blocks: int) -> Instance:
    """A random start, and the towers of another random state as the goal, as in PlanBench."""
    while True:
        start, end = random_state(rng, blocks), random_state(rng, blocks)
        goal = tuple(tower for tower in end.towers if len(tower) > 1)
        if not goal_holds(start, goal):  # a goal without towers always does
            return Instance(start, goal)


def random_state(rng: np.random.Generator, blocks: int) -> State:
    """A state with an empty hand. Each has the same probability."""
    count = 1 + int(np.searchsorted(_up_to_so_many_towers(blocks), rng.random()))
    order = "".join(BLOCKS[i] for i in rng.permutation(blocks))
    cuts = sorted(1 + i for i in rng.permutation(blocks - 1)[: count - 1])
    return make_state(order[i:j] for i, j in zip([0, *cuts], [*cuts, blocks], strict=True))


@functools.cache
def _up_to_so_many_towers(blocks: int) -> np.ndarray:
    """[blocks] float. The share of all states that have at most 1, 2, … towers.

    n blocks make n!/k! · C(n - 1, k - 1) states of k towers: an order of the blocks, cut into k
    parts, whose own order does not count.
    """
    towers = range(1, blocks + 1)
    states = [math.comb(blocks - 1, k - 1) / math.factorial(k) for k in towers]
    return np.cumsum(states) / sum(states)


def random_play(instance: Instance, rng: np.random.Generator, most: int) -> str:
    """Random legal moves with the world's answers: 1 to `most`, or up to the goal."""
    state, moves = instance.start, []
    for _ in range(rng.integers(1, most, endpoint=True)):
        after = successors(state)
        moves.append(list(after)[rng.integers(len(after))])
        state = after[moves[-1]]
        if goal_holds(state, instance.goal):
            break
    return play(instance, moves).text
