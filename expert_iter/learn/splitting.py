"""Splits a step tree that is too large for a row into smaller ones that teach the same."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from expert_iter.learn.room import Room
from expert_iter.learn.step_tree import Column, StepTree


def split(tree: StepTree, room: Room, columns: Sequence[Column] = ()) -> list[StepTree]:
    """Returns the tree itself if it fits, else several with what they share repeated (and learned
    in one only).

    A step that does not fit with those before it is left out, and so is what comes after it.
    Siblings that an objective compares (`Column.family`) stay together; where they do not fit
    together, none of them teaches that objective.
    """
    if room.holds(tree.size, len(tree.length)):
        return [tree]
    length = tree.length
    fits = lambda steps: room.holds(length[sorted(steps)].sum(), len(steps))  # noqa: E731
    tree = _with_families_that(fits, tree, columns)
    pieces, steps = [], set()
    for unit in _inseparable(tree, columns):
        added = _with_ancestors(tree, unit)
        if not fits(added):
            continue
        if not fits(steps | added):
            pieces.append(steps)
            steps = set()
        steps |= added
    if steps:
        pieces.append(steps)
    learned: set[int] = set()
    result = []
    for piece in pieces:
        result.append(_part(tree, sorted(piece), learned))
        learned |= piece
    return [part for part in result if part.teaches]


def _inseparable(tree: StepTree, columns: Sequence[Column]) -> list[list[int]]:
    """All steps, in units that must not be parted: siblings that are compared, or one step; parents
    come first.
    """
    compared = np.zeros(len(tree.length), bool)
    for column in columns:
        if column.family and column.name in tree.columns:
            compared |= tree.columns[column.name] != 0
    units = []
    for parent in range(-1, len(tree.length)):
        family = np.flatnonzero(tree.parent == parent)
        if compared[family].any():
            units.append(family.tolist())
        else:
            units += [[step] for step in family.tolist()]
    return units


def _with_families_that(
    fits: Callable[[set[int]], bool], tree: StepTree, columns: Sequence[Column]
) -> StepTree:
    """The tree in which siblings that do not fit together teach no objective that compares them."""
    families = [unit for unit in _inseparable(tree, columns) if len(unit) > 1]
    large = [unit for unit in families if not fits(_with_ancestors(tree, unit))]
    parted = np.isin(np.arange(len(tree.length)), np.concatenate([*large, []]))
    change = {}
    for family in (column for column in columns if column.family):
        if family.name in tree.columns:
            silent = parted & (tree.columns[family.name] != 0)
            change |= {
                name: np.where(silent, 0, values).astype(values.dtype)
                for name, values in tree.columns.items()
                if name.startswith(f"{family.objective}.")
            }
    return tree.with_columns(change)


def _with_ancestors(tree: StepTree, siblings: list[int]) -> set[int]:
    path, step = set(siblings), siblings[0]
    while (step := int(tree.parent[step])) >= 0:
        path.add(step)
    return path


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
        columns={
            name: np.where(new, values[steps], 0).astype(values.dtype)
            for name, values in tree.columns.items()
        },
    )
