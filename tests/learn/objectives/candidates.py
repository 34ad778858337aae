"""Random nodes with candidates of one step or several, packed, for losses in closed form."""

import itertools
from typing import NamedTuple

import numpy as np

from expert_iter.learn.objectives.objective import Outputs
from expert_iter.learn.packing import Packer
from expert_iter.learn.step_tree import StepTreeBuilder
from tests.learn.trees import COLUMNS, where


class Node(NamedTuple):
    """A node with its candidates.

    Attributes:
      row: of the batch.
      steps: those of each candidate, by their place in the row.
      values: what each candidate was given, by column.
    """

    row: int
    steps: list[list[int]]
    values: dict[str, np.ndarray]


def grown(rng, token, values, nodes):
    """A tree of so many nodes of 1 to 4 candidates: of 1 to 3 steps each, of which the first may
    be another one's too.
    """
    builder, open_ends, made = StepTreeBuilder([next(token)], COLUMNS), [0], []
    for _ in range(nodes):
        node = open_ends.pop(rng.integers(len(open_ends)))
        candidates = []
        for _ in range(rng.choice([1, 2, 3, 4, 4, 4])):
            shared = bool(candidates) and len(candidates[-1]) > 1 and rng.random() < 0.5
            path = candidates[-1][:1] if shared else []
            for _ in range(rng.choice([1, 1, 1, 2, 3])):
                text = (next(token),) * int(rng.integers(1, 4))
                path = [*path, builder.add(path[-1] if path else node, text)]
            candidates.append(path)
        open_ends += [path[-1] for path in candidates]
        given = values(rng, len(candidates))
        for name, x in given.items():
            for path, value in zip(candidates, x, strict=True):
                builder.give(path, name, value)
        made.append((candidates, given))
    return builder.build(), made


def random_batch(seed, values):
    """A batch of several trees, some in one row, with room to spare, and its nodes.

    values: gives for a random generator and a number of candidates the columns of a node's.
    """
    rng, token = np.random.default_rng(seed), itertools.count(1)
    trees, made = zip(
        *(grown(rng, token, values, n) for n in (3, 1, 4, 6, 5, 3, 6, 2)), strict=True
    )
    batch, taken = Packer(5, 160, 64, COLUMNS).pack(trees)
    assert len(taken) == len(trees) > 5
    assert (batch.step_RxT[:, -1] == -1).all(), "there is padding"
    nodes = []
    for tree, of_tree in zip(trees, made, strict=True):
        row, steps = where(batch, tree)
        for candidates, given in of_tree:
            there = [[steps.start + g for g in path] for path in candidates]
            nodes.append(Node(row, there, given))
    assert {len(node.steps) for node in nodes} == {1, 2, 3, 4}
    return batch, nodes


def outputs(log_pi):
    return Outputs(log_pi, {})
