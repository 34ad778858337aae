import dataclasses

import numpy as np
import pytest

from expert_iter.errors import UserError
from expert_iter.learn.replay import Replay, ReplayConfig
from expert_iter.learn.step_tree import NOWHERE, Origin
from expert_iter.pod import processes
from tests.learn.trees import assert_same_trees

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


def by_row(trees):
    """A batch whose problems leave one tree each."""
    return {row: [tree] for row, tree in enumerate(trees)}


def numbers(replay):
    """Of the window's trees, oldest first; None for those that are with another process."""
    own = replay.own(range(len(replay)))
    return [int(own[i].token[0]) if i in own else None for i in range(len(replay))]


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
    replay.add(by_row(numbered(0, 8)))
    assert numbers(replay) == list(range(8))
    replay.add(by_row(numbered(8, 12)))
    assert replay.total == 20 and numbers(replay) == list(range(6, 20))
    replay.add({})
    replay.add({0: [], 1: []})
    assert replay.total == 20 and numbers(replay) == list(range(6, 20))
    replay.add(by_row(numbered(20, 80)))
    assert replay.total == 100 and numbers(replay) == list(range(60, 100))


def test_sizes_and_choices_are_those_of_the_window(numbered):
    replay, trees = Replay(CONFIG), numbered(0, 20)
    replay.add(by_row(trees))
    window = trees[6:]
    assert replay.tokens.tolist() == [tree.size for tree in window] and len(replay) == 14
    assert replay.own([3, 0, 3]) == {0: window[3], 1: window[0], 2: window[3]}


def test_problems_count_in_the_order_of_the_batch(numbered):
    """Whatever the order in which they are told, and however many trees each leaves."""
    trees, replay = numbered(0, 6), Replay(CONFIG)
    replay.add({5: trees[3:], 0: trees[:2], 2: [], 4: trees[2:3]})
    assert numbers(replay) == [0, 1, 2, 3, 4, 5]


def saved(replay, path):
    np.savez(path, **replay.arrays())
    return dict(np.load(path))


@pytest.mark.parametrize("count", [0, 1, 25])
def test_round_trip_through_arrays_is_exact(numbered, tmp_path, count):
    replay = Replay(CONFIG)
    replay.add(by_row(numbered(0, count)))
    again = Replay.from_arrays(CONFIG, [saved(replay, tmp_path / "0.npz")])
    assert again.total == replay.total == count
    assert again.tokens.tolist() == replay.tokens.tolist()
    before, after = (r.own(range(len(r))) for r in (replay, again))
    assert list(before) == list(after) == list(range(len(replay)))
    assert_same_trees(before.values(), after.values())
    # And both go on alike.
    more = by_row(numbered(count, 30))
    replay.add(more)
    again.add(more)
    assert numbers(replay) == numbers(again)


def test_a_replay_that_was_saved_before_there_were_columns_is_read(numbered):
    """Each array by its old name, which a run's objectives read by theirs."""
    replay = Replay(CONFIG)
    replay.add(by_row(numbered(0, 3)))
    new, names = (
        replay.arrays(),
        {
            "policy_weight": ("improved.weight", "set_normalised.weight"),
            "value_target": ("value.target",),
            "value_weight": ("value.weight",),
            "correction": ("set_normalised.correction",),
            "in_set": ("set_normalised.in_set",),
        },
    )
    kept = {name: x for name, x in new.items() if not name.startswith(("column.", "origin."))}
    old = kept | {name: new[f"column.{columns[0]}"] for name, columns in names.items()}
    again = Replay.from_arrays(CONFIG, [old])
    assert again.tokens.tolist() == replay.tokens.tolist() and again.total == 3
    before, after = replay.own(range(3)), again.own(range(3))
    for place, tree in before.items():
        assert after[place].origin == NOWHERE
        np.testing.assert_array_equal(after[place].token, tree.token)
        for columns in names.values():
            for name in columns:
                assert after[place].columns[name].dtype == tree.columns[name].dtype
                np.testing.assert_array_equal(after[place].columns[name], tree.columns[name])
        np.testing.assert_array_equal(
            after[place].columns["winners.weight"], tree.columns["improved.weight"]
        )


def test_all_processes_know_the_window_and_each_has_its_own(numbered, as_processes):
    """Three of them search the rows 0 1, 2 3 and 4 5 of each batch; row r leaves r trees."""

    def work():
        replay, rows = Replay(CONFIG), range(2 * processes.index(), 2 * processes.index() + 2)
        for batch in range(2):
            first = [sum(range(row)) + 15 * batch for row in rows]
            replay.add({row: numbered(at, row) for row, at in zip(rows, first, strict=True)})
        return replay

    made = as_processes(3, work)
    alone = Replay(CONFIG)
    alone.add(by_row(numbered(0, 30)))
    assert numbers(alone) == list(range(12, 30))
    for replay in made:
        assert replay.total == 30 and len(replay) == 18
        sizes = [own.size for part in made for own in part.own(range(18)).values()]
        assert sum(sizes) == replay.tokens.sum()
    theirs = [[n for n in numbers(replay) if n is not None] for replay in made]
    assert theirs == [[15], [16, 17, 18, 19, 20], [12, 13, 14, *range(21, 30)]]
    for replay in made:
        own = replay.own(range(18))
        assert all(replay.tokens[i] == tree.size for i, tree in own.items())
        assert [i + 12 for i in own] == [int(tree.token[0]) for tree in own.values()]


@pytest.mark.parametrize("now", [1, 2, 4])
def test_shares_are_dealt_anew_among_those_that_come_back(numbered, as_processes, tmp_path, now):
    """Three processes saved, one of them nothing; each tree is then with one of those there are."""
    trees = dict(enumerate([[tree] for tree in numbered(0, 25)]))
    has = ({}, dict(list(trees.items())[:11]), dict(list(trees.items())[11:]))

    def save():
        replay = Replay(CONFIG)
        replay.add(has[processes.index()])
        return saved(replay, tmp_path / f"{processes.index()}.npz")

    shares = as_processes(3, save)
    window = Replay.from_arrays(CONFIG, shares)
    assert (window.total, numbers(window)) == (25, list(range(9, 25)))

    def restore():
        replay = Replay.from_arrays(CONFIG, shares)
        before = numbers(replay)
        replay.add({processes.index(): numbered(25 + processes.index(), 1)})
        return before, numbers(replay)

    def together(parts):
        columns = zip(*parts, strict=True)
        held = [[n for n in column if n is not None] for column in columns]
        assert all(len(column) == 1 for column in held), "with one process each"
        return [n for (n,) in held]

    befores, afters = zip(*as_processes(now, restore), strict=True)
    assert together(befores) == list(range(9, 25))
    assert all(sum(n is not None for n in numbers) >= 16 // now for numbers in befores)
    assert together(afters) == list(range(25 + now))[-len(afters[0]) :]


def searched(tree, problem, updates=0):
    """The tree, as one that a search of the problem left."""
    return dataclasses.replace(tree, origin=Origin(problem, 1, 0, updates))


def test_new_lessons_of_a_problem_replace_the_old(numbered):
    replay, trees = Replay(CONFIG), numbered(0, 8)
    replay.add({0: [searched(tree, "a") for tree in trees[:2]], 1: [searched(trees[2], "b")]})
    replay.add({0: [searched(trees[3], "c")], 1: [searched(trees[4], "d")]})
    replay.add(
        {0: [searched(trees[5], "a", 9)], 1: [], 2: [searched(trees[6], "c", 9)]}, {"a", "d"}
    )
    assert numbers(replay) == [2, 3, 5, 6] and len(replay) == 4
    assert replay.tokens.tolist() == [trees[i].size for i in (2, 3, 5, 6)]
    assert [origin.problem for origin in replay.origins] == ["b", "c", "a", "c"]
    assert replay.total == 7


def test_a_replay_with_trees_replaced_comes_back(numbered, tmp_path):
    replay, trees = Replay(CONFIG), numbered(0, 30)
    replay.add({row: [searched(tree, f"{row}", row)] for row, tree in enumerate(trees[:9])})
    replay.add({0: [searched(trees[9], "3", 20)]}, {"3", "5"})
    again = Replay.from_arrays(CONFIG, [saved(replay, tmp_path / "0.npz")])
    assert numbers(again) == numbers(replay) == [0, 1, 2, 4, 6, 7, 8, 9]
    assert again.origins == replay.origins
    assert [origin.updates for origin in again.origins] == [0, 1, 2, 4, 6, 7, 8, 20]
    for each in (replay, again):
        each.add(by_row(trees[10:]), {"8"})
    assert numbers(again) == numbers(replay) == list(range(30))[-len(replay) :]
    assert again.origins == replay.origins


def test_all_processes_know_where_all_trees_come_from(numbered, as_processes):
    def work():
        replay, at = Replay(CONFIG), processes.index()
        replay.add({at: [searched(numbered(at, 1)[0], f"{at}", at)]})
        mine = {3 + at: [searched(numbered(3 + at, 1)[0], f"{at}", 9)]} if at == 1 else {}
        replay.add(mine, {"1"})
        return replay

    made = as_processes(3, work)
    assert [numbers(replay) for replay in made] == [
        [0, None, None],
        [None, None, 4],
        [None, 2, None],
    ]
    for replay in made:
        assert [origin.problem for origin in replay.origins] == ["0", "2", "1"]
        assert [origin.updates for origin in replay.origins] == [0, 2, 9]


@pytest.mark.parametrize(
    "bad",
    [
        dict(min_trees=0),
        dict(min_trees=50),
        dict(growth=-0.1),
        dict(exponent=0.0),
        dict(reanalyse=2.0),
    ],
)
def test_impossible_windows_are_refused(bad):
    with pytest.raises(UserError, match="replay."):
        dataclasses.replace(CONFIG, **bad)
