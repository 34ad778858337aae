"""Figures of searched trees that can be counted by hand."""

import numpy as np
import pytest

from expert_iter.measure.search_figures import search_facts, search_means
from expert_iter.search.bill import Bill
from expert_iter.search.candidates import Candidates
from expert_iter.search.tree import SearchTree


def tree_of(count) -> SearchTree:
    """One tree with the given draws of each candidate, [N, K]; nodes of -1 do not exist."""
    count = np.array([count])
    live, nodes = (count >= 0).all(axis=-1), np.zeros(count.shape)
    count = np.maximum(count, 0)
    drawn = dict.fromkeys(Candidates._fields, nodes) | {
        "count": count,
        "valid": count > 0,
        "finished": nodes > 0,
    }
    arrays = dict.fromkeys(SearchTree._fields, nodes) | {
        "live": live,
        "candidates": Candidates(**drawn),
        "won": nodes > 0,
        "bill": Bill(*np.ones((4, 1))),
    }
    return SearchTree(**arrays)


@pytest.mark.parametrize(
    ("count", "share"),
    [
        # A root of four and nodes of two, all draws distinct.
        ([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]], 0),
        # Of eight draws three were seen before.
        ([[3, 0, 1, 0], [1, 1, 0, 0], [2, 0, 0, 0]], 3 / 8),
        # A node that was never made has drawn nothing.
        ([[2, 2, 0, 0], [-1, -1, -1, -1]], 2 / 4),
        # A policy with fewer steps to draw than the node has room for.
        ([[1, 0, 0, 0], [1, 0, 0, 0]], 0),
    ],
)
def test_duplicates_are_a_share_of_the_draws(count, share):
    assert search_means(search_facts(tree_of(count)))["duplicates"] == pytest.approx(share)
