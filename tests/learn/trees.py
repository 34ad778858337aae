"""Step trees as tests see them: columns of random ones, their paths, their place in a batch."""

import numpy as np

from expert_iter.learn.lessons import columns_of
from tests.objectives import objectives

POLICIES = "improved", "set_normalised", "step_preferences", "policy_gradient"
COLUMNS = columns_of(objectives(*POLICIES, "value"))


def paths(tree):
    """Each step's texts from the prompt on, itself included."""
    found, ends = [], np.cumsum(tree.length)
    for end, length, parent in zip(ends, tree.length, tree.parent, strict=True):
        before = found[parent] if parent >= 0 else ()
        found.append((*before, tuple(tree.token[end - length : end].tolist())))
    return found


def values_at(tree, g):
    """All columns of a step, by name."""
    return {name: values[g].item() for name, values in tree.columns.items()}


def where(batch, tree):
    """Row and steps of a tree in a batch."""
    for row in range(len(batch.token_RxT)):
        for g in np.flatnonzero(batch.parent_RxG[row] < 0):
            steps = slice(g, g + len(tree.length))
            inside = (batch.step_RxT[row] >= g) & (batch.step_RxT[row] < steps.stop)
            if np.array_equal(batch.token_RxT[row, inside], tree.token):
                return row, steps
    raise AssertionError("the tree is not in the batch")


def assert_same_trees(trees, others):
    """Bit for bit, types included."""
    assert len(trees) == len(others)
    for tree, other in zip(trees, others, strict=True):
        assert tree.origin == other.origin and set(tree.columns) == set(other.columns)
        pairs = [
            (getattr(tree, name), getattr(other, name)) for name in ("token", "length", "parent")
        ]
        for a, b in [*pairs, *((x, other.columns[name]) for name, x in tree.columns.items())]:
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
