"""Splits a step tree that is too large for a row into smaller ones that teach the same."""

import dataclasses

import numpy as np

from expert_iter.errors import UserError
from expert_iter.learn.step_tree import StepTree


def split(tree: StepTree, max_tokens: int, max_steps: int) -> list[StepTree]:
    """Returns the tree itself if it fits, else several with what they share repeated (and learned
    in one only).

    Siblings that the set-normalised policy loss compares stay together. Raises UserError where a
    step, with those and the steps before it, does not fit by itself.
    """
    if tree.size <= max_tokens and len(tree.length) <= max_steps:
        return [tree]
    pieces, steps = [], set()
    for unit in _inseparable(tree):
        added = set(unit) | _ancestors(tree, unit[0])
        together = steps | added
        if not _fits(tree, together, max_tokens, max_steps):
            pieces.append(steps)
            together = added
            if not _fits(tree, together, max_tokens, max_steps):
                raise UserError(
                    "a step with what it is compared to and what comes before has "
                    f"{_tokens(tree, together)} tokens in {len(together)} steps; raise "
                    f"learner.row_tokens ({max_tokens}) or learner.row_steps ({max_steps})"
                )
        steps = together
    pieces.append(steps)
    learned: set[int] = set()
    result = []
    for piece in pieces:
        result.append(_part(tree, sorted(piece), learned))
        learned |= piece
    return [part for part in result if part.teaches]


def _inseparable(tree: StepTree) -> list[list[int]]:
    """All steps, in units that must not be parted: siblings that are compared, or one step; parents
    come first.
    """
    units = []
    for parent in range(-1, len(tree.length)):
        family = np.flatnonzero(tree.parent == parent)
        if tree.in_set[family].any():
            units.append(family.tolist())
        else:
            units += [[step] for step in family.tolist()]
    return units


def _ancestors(tree: StepTree, step: int) -> set[int]:
    path = set()
    while (step := int(tree.parent[step])) >= 0:
        path.add(step)
    return path


def _tokens(tree: StepTree, steps: set[int]) -> int:
    return int(tree.length[sorted(steps)].sum())


def _fits(tree: StepTree, steps: set[int], max_tokens: int, max_steps: int) -> bool:
    return len(steps) <= max_steps and _tokens(tree, steps) <= max_tokens


def _part(tree: StepTree, steps: list[int], learned: set[int]) -> StepTree:
    """The subtree of `steps`; those already `learned` elsewhere only serve as context."""
    start = np.cumsum(tree.length) - tree.length
    number = {step: i for i, step in enumerate(steps)}
    new = np.array([step not in learned for step in steps])
    return dataclasses.replace(
        tree,
        token=np.concatenate([tree.token[start[s] : start[s] + tree.length[s]] for s in steps]),
        length=tree.length[steps],
        parent=np.array([number.get(int(tree.parent[s]), -1) for s in steps], np.int32),
        policy_weight=tree.policy_weight[steps] * new,
        value_target=tree.value_target[steps],
        value_weight=tree.value_weight[steps] * new,
        correction=tree.correction[steps],
        in_set=tree.in_set[steps] & new,
    )
