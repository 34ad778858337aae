import itertools

import numpy as np
import pytest

from expert_iter.measure.drawing import spread


@pytest.mark.parametrize("seed", range(5))
def test_labels_are_spread_as_little_as_needed(seed):
    rng = np.random.default_rng(seed)
    wanted = np.sort(rng.choice(np.arange(30, 71), 4) / 100)
    placed = spread(wanted, 0.05)
    assert np.all(np.diff(placed) >= 0.05 - 1e-9)
    # Brute force over a grid that contains near-optimal placings.
    grid = np.arange(20, 81, 2) / 100
    costs = [
        np.sum((np.array(try_) - wanted) ** 2)
        for try_ in itertools.combinations(grid, 4)
        if np.diff(try_).min() >= 0.05 - 1e-9
    ]
    assert np.sum((placed - wanted) ** 2) <= min(costs) + 1e-9


def test_labels_stay_inside_the_picture():
    assert spread([0.0, 0.0, 0.0], 0.1) == pytest.approx([0, 0.1, 0.2])
    assert spread([0.98, 1.0], 0.1) == pytest.approx([0.9, 1.0])
    assert spread([0.1, 0.5], 0.1) == pytest.approx([0.1, 0.5])
