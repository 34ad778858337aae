import dataclasses

import numpy as np
import pytest

from expert_iter.errors import UserError
from expert_iter.learn.replay import Replay, ReplayConfig
from expert_iter.learn.step_tree import StepTree

CONFIG = ReplayConfig(min_trees=10, growth=0.5, exponent=0.75, max_trees=40)


@pytest.fixture
def numbered(random_tree):
    """Trees that carry their number as the prompt's first token."""

    def make(first, count):
        rng = np.random.default_rng(first)
        trees = []
        for number in range(first, first + count):
            tree = random_tree(rng, steps=rng.integers(1, 6))
            tree.token[0] = number
            trees.append(tree)
        return trees

    return make


def numbers(replay):
    return [int(tree.token[0]) for tree in replay.trees]


def test_window_is_katagos_formula():
    """Wu 2019, appendix C: c · (1 + β · ((N / c)^α − 1) / α); worked out for c=10, β=½, α=¾."""
    replay = Replay(CONFIG)
    for total, window in [
        (0, 10),
        (10, 10),
        (20, 14),  # 10 · (1 + 2/3 · (1.6818 − 1)) = 14.55
        (100, 40),  # 10 · (1 + 2/3 · (5.6234 − 1)) = 40.82, but never more than 40
        (99, 40),  # 40.5
        (97, 39),  # 10 · (1 + 2/3 · (5.4963 − 1)) = 39.97
        (10_000, 40),
    ]:
        replay.total = total
        assert replay.window() == window


def test_window_grows_more_slowly_than_the_data():
    replay, windows = Replay(CONFIG), []
    for total in range(200):
        replay.total = total
        windows.append(replay.window())
    steps = np.diff(windows)
    assert (steps >= 0).all() and (steps <= 1).all()
    assert all(window <= max(total, 10) for total, window in enumerate(windows))


def test_the_newest_are_kept_and_the_oldest_dropped(numbered):
    replay = Replay(CONFIG)
    replay.add(numbered(0, 8))
    assert numbers(replay) == list(range(8))
    replay.add(numbered(8, 12))
    assert replay.total == 20 and numbers(replay) == list(range(6, 20))
    replay.add([])
    assert replay.total == 20 and numbers(replay) == list(range(6, 20))
    replay.add(numbered(20, 80))
    assert replay.total == 100 and numbers(replay) == list(range(60, 100))


@pytest.mark.parametrize("count", [0, 1, 25])
def test_round_trip_through_arrays_is_exact(numbered, tmp_path, count):
    replay = Replay(CONFIG)
    replay.add(numbered(0, count))
    np.savez(tmp_path / "replay.npz", **replay.arrays())
    again = Replay.from_arrays(CONFIG, dict(np.load(tmp_path / "replay.npz")))
    assert again.total == replay.total == count and len(again.trees) == len(replay.trees)
    for tree, other in zip(replay.trees, again.trees, strict=True):
        for name in (field.name for field in dataclasses.fields(StepTree)):
            a, b = getattr(tree, name), getattr(other, name)
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
    # And both go on alike.
    more = numbered(count, 30)
    replay.add(more)
    again.add(more)
    assert numbers(replay) == numbers(again)


@pytest.mark.parametrize(
    "bad", [dict(min_trees=0), dict(min_trees=50), dict(growth=-0.1), dict(exponent=0.0)]
)
def test_impossible_windows_are_refused(bad):
    with pytest.raises(UserError, match="replay."):
        dataclasses.replace(CONFIG, **bad)
