import dataclasses
import itertools

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expert_iter.learn.packing import Packer
from expert_iter.learn.step_tree import Column
from tests.learn.trees import COLUMNS


def unpack(batch):
    """The trees of a batch, row by row: plain lists, found by following parents."""
    trees = []
    for row in range(len(batch.token_RxT)):
        step, steps = batch.step_RxT[row], batch.step_RxT[row].max() + 1
        roots = [g for g in range(steps) if batch.parent_RxG[row, g] < 0]
        for begin, end in itertools.pairwise([*roots, steps]):
            inside = (step >= begin) & (step < end)
            parent = batch.parent_RxG[row, begin:end]
            tree = {
                "token": batch.token_RxT[row, inside].tolist(),
                "length": [int((step == g).sum()) for g in range(begin, end)],
                "parent": np.where(parent < 0, -1, parent - begin).tolist(),
            }
            tree |= {name: x[row, begin:end].tolist() for name, x in batch.columns.items()}
            trees.append((row, tree))
    return trees


def plain(tree):
    own = {name: getattr(tree, name).tolist() for name in ("token", "length", "parent")}
    return own | {name: values.tolist() for name, values in tree.columns.items()}


def packed(random_tree, seed=0, number=9, rows=3, row_tokens=60, row_steps=24):
    rng = np.random.default_rng(seed)
    trees = [random_tree(rng, steps=rng.integers(1, 8)) for _ in range(number)]
    batch, taken = Packer(rows, row_tokens, row_steps, COLUMNS).pack(trees)
    assert len(taken) == number, "the test wants room for all"
    assert len({row for row, _ in unpack(batch)}) < number, "and some rows with several trees"
    return trees, batch


def test_every_tree_is_there_whole_and_once(random_tree):
    trees, batch = packed(random_tree)
    found = [tree for _, tree in unpack(batch)]
    assert len(found) == len(trees)
    for tree in trees:
        assert found.count(plain(tree)) == 1


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_packing_is_first_fit_within_tokens_and_steps(random_tree, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    rows, row_tokens, row_steps = (
        data.draw(st.integers(1, 3)),
        data.draw(st.integers(4, 40)),
        data.draw(st.integers(1, 16)),
    )
    trees = [random_tree(rng, steps=rng.integers(1, 10)) for _ in range(rng.integers(0, 10))]
    room, wanted = [(row_tokens, row_steps)] * rows, []
    for number, tree in enumerate(trees):
        for row, (tokens, steps) in enumerate(room):
            if tree.size <= tokens and len(tree.length) <= steps:
                room[row] = (tokens - tree.size, steps - len(tree.length))
                wanted.append((row, number))
                break
    batch, taken = Packer(rows, row_tokens, row_steps, COLUMNS).pack(trees)
    assert taken == [number for _, number in wanted]
    # Within a row trees lie in the order given, so sorting by row is the order of the batch.
    expected = [(row, plain(trees[number])) for row, number in sorted(wanted)]
    assert unpack(batch) == expected


def paths(batch):
    """For every token the indices of its own text, from the prompt's first token to itself."""
    for row in range(len(batch.token_RxT)):
        for t, g in enumerate(batch.step_RxT[row]):
            if g < 0:
                continue
            steps = [g]
            while batch.parent_RxG[row, steps[0]] >= 0:
                steps.insert(0, batch.parent_RxG[row, steps[0]])
            text = [u for g in steps for u in np.flatnonzero(batch.step_RxT[row] == g)]
            yield row, t, [u for u in text if u <= t]


def test_positions_and_predecessors_are_those_of_the_own_text(random_tree):
    _, batch = packed(random_tree)
    for row, t, text in paths(batch):
        assert batch.position_RxT[row, t] == len(text) - 1
        assert batch.before_RxT[row, t] == (text[-2] if len(text) > 1 else t)


def test_ancestors_and_ends(random_tree):
    _, batch = packed(random_tree)
    ancestors = np.zeros_like(batch.ancestor_RxGxG)
    for row, t, text in paths(batch):
        g = batch.step_RxT[row, t]
        ancestors[row, g, batch.step_RxT[row, text]] = True
        assert batch.end_RxG[row, g] == np.flatnonzero(batch.step_RxT[row] == g).max()
    np.testing.assert_array_equal(batch.ancestor_RxGxG, ancestors)


def test_padding_teaches_nothing(random_tree):
    trees, batch = packed(random_tree, rows=5)
    padding = batch.step_RxT < 0
    assert padding.sum() == batch.step_RxT.size - sum(tree.size for tree in trees)
    own = np.broadcast_to(np.arange(padding.shape[1]), padding.shape)
    np.testing.assert_array_equal(batch.before_RxT[padding], own[padding])
    real = np.arange(batch.end_RxG.shape[1]) <= batch.step_RxT.max(axis=1)[:, None]
    for column in COLUMNS:
        assert batch.columns[column.name].dtype == column.dtype
        assert not batch.columns[column.name][~real].any()


@pytest.mark.parametrize("trees", [[], None])
def test_nothing_fits_or_is_given(random_tree, trees):
    trees = [random_tree(np.random.default_rng(0), prompt=50)] if trees is None else trees
    batch, taken = Packer(2, 16, 4, COLUMNS).pack(trees)
    assert taken == [] and (batch.step_RxT == -1).all()


@pytest.mark.parametrize("held", [{0}, {1, 2}, set()])
def test_rows_that_are_not_held_stay_empty_and_the_others_are_as_ever(random_tree, held):
    rng = np.random.default_rng(4)
    trees = [random_tree(rng, steps=rng.integers(1, 8)) for _ in range(40)]
    whole, everyone = Packer(3, 60, 24, COLUMNS).pack(trees)
    part, taken = Packer(3, 60, 24, COLUMNS).pack(trees, held=held)
    empty, _ = Packer(3, 60, 24, COLUMNS).pack([])
    assert taken == everyone and len(everyone) < 40, "some find no room"
    for row in range(3):
        wanted = whole if row in held else empty
        jax.tree.map(lambda x, y: np.testing.assert_array_equal(x[row], y[row]), part, wanted)  # noqa: B023


def test_columns_that_a_tree_lacks_are_zero_and_those_that_nobody_learns_are_left_out(random_tree):
    tree = random_tree(np.random.default_rng(0))
    less = dataclasses.replace(tree, columns={"value.weight": tree.columns["value.weight"]})
    known = Packer(1, 60, 24, (Column("value.weight"), Column("value.target"))).pack([tree, less])
    steps, columns = len(tree.length), known[0].columns
    assert set(columns) == {"value.weight", "value.target"}
    np.testing.assert_array_equal(columns["value.weight"][0, :steps], tree.columns["value.weight"])
    again = columns["value.weight"][0, steps : 2 * steps]
    np.testing.assert_array_equal(again, tree.columns["value.weight"])
    np.testing.assert_array_equal(columns["value.target"][0, :steps], tree.columns["value.target"])
    assert not columns["value.target"][0, steps:].any()


def test_siblings_follow_the_same_step_of_the_same_tree(random_tree):
    trees, batch = packed(random_tree)
    siblings = batch.siblings_RxGxG
    for row, parents in enumerate(batch.parent_RxG):
        for g, h in itertools.product(np.flatnonzero(parents >= 0), repeat=2):
            assert siblings[row, g, h] == (parents[g] == parents[h])
