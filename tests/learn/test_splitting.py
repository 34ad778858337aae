import dataclasses

import numpy as np
import pytest

from expert_iter.learn.room import Room
from expert_iter.learn.splitting import split
from expert_iter.learn.step_tree import StepTree
from tests.learn.trees import COLUMNS, paths, values_at

FAMILIES = [column for column in COLUMNS if column.family]
VALUES = "improved.weight", "value.target", "value.weight"  # which no family has


def plain(tree):
    """The tree with columns alone that let siblings be parted."""
    return dataclasses.replace(tree, columns={name: tree.columns[name] for name in VALUES})


@pytest.fixture
def unique(random_tree):
    """A random tree no two steps of which have the same text."""

    def make(rng, **size):
        tree = random_tree(rng, **size)
        return dataclasses.replace(tree, token=np.arange(tree.size, dtype=np.int32))

    return make


def test_a_tree_that_fits_is_left_alone(unique):
    tree = unique(np.random.default_rng(0))
    assert split(tree, Room(tree.size, len(tree.length)), COLUMNS) == [tree]


@pytest.mark.parametrize("seed", range(8))
def test_parts_fit_and_teach_together_what_the_whole_does_once(unique, seed):
    rng = np.random.default_rng(seed)
    tree = unique(rng, steps=30)
    limits = (40, 18)
    parts = split(tree, Room(*limits), COLUMNS)
    assert len(parts) > 1
    whole = {path: g for g, path in enumerate(paths(tree))}
    learned = dict.fromkeys(whole, 0)
    for part in parts:
        assert part.size <= limits[0] and len(part.length) <= limits[1]
        assert part.size == part.length.sum() and part.teaches
        assert part.parent[0] == -1 and (part.parent[1:] < np.arange(1, len(part.parent))).all()
        assert part.origin == tree.origin
        for name in ("token", "length", "parent"):
            assert getattr(part, name).dtype == getattr(tree, name).dtype
        for name, values in tree.columns.items():
            assert part.columns[name].dtype == values.dtype
        for g, path in enumerate(paths(part)):
            # Nothing but prefixes of the whole tree, with their values or with none of them.
            if part.teaching[g]:
                assert values_at(part, g) == values_at(tree, whole[path])
                learned[path] += 1
    assert [learned[path] for path in whole] == tree.teaching.astype(int).tolist()


@pytest.mark.parametrize("family", FAMILIES, ids=lambda column: column.objective)
@pytest.mark.parametrize("seed", range(4))
def test_steps_that_are_compared_stay_with_all_their_siblings(unique, seed, family):
    tree = unique(np.random.default_rng(seed), steps=30)

    def families_of(tree):
        families = {}
        for path, compared in zip(paths(tree), tree.columns[family.name], strict=True):
            if compared:
                families.setdefault(path[:-1], set()).add(path)
        return families

    whole = families_of(tree)
    parts = [families_of(part) for part in split(tree, Room(40, 18), COLUMNS)]
    for found in parts:
        for before, siblings in found.items():
            assert siblings == whole[before]
    assert sum(map(len, parts)) == len(whole), "each family once"


def test_parts_that_teach_nothing_are_dropped(unique):
    tree = unique(np.random.default_rng(1), steps=30)
    silent = {name: np.zeros_like(values) for name, values in tree.columns.items()}
    last = silent["value.weight"].copy()
    last[29] = 1.0
    (part,) = split(tree.with_columns(silent | {"value.weight": last}), Room(40, 18), COLUMNS)
    assert part.columns["value.weight"].sum() == 1


@pytest.mark.parametrize("limits", [(14, 18), (40, 3), (8, 3), (4, 5), (2, 9)])
@pytest.mark.parametrize("seed", range(4))
def test_what_no_row_has_room_for_is_left_out_and_the_rest_is_taught(unique, seed, limits):
    tree = unique(np.random.default_rng(seed), steps=30)
    tree, learned = plain(tree), set()
    for part in split(tree, Room(*limits), COLUMNS):
        assert part.size <= limits[0] and len(part.length) <= limits[1]
        learned |= {paths(part)[g] for g in np.flatnonzero(part.teaching)}
    assert learned == {
        path
        for g, path in enumerate(paths(tree))
        if sum(map(len, path)) <= limits[0] and len(path) <= limits[1]
        if tree.teaching[g]
    }


def small_tree(**columns):
    """A prompt, three steps after it, and two after the first of them."""
    return StepTree(
        token=np.arange(18, dtype=np.int32),
        length=np.array([2, 3, 4, 5, 2, 2], np.int32),
        parent=np.array([-1, 0, 0, 0, 1, 1], np.int32),
        columns={name.replace("__", "."): np.asarray(x) for name, x in columns.items()},
    )


def learned_from(parts, name):
    """What each path has in a column, where it has anything, of all parts together."""
    return {
        path: values.item()
        for part in parts
        for path, values in zip(paths(part), part.columns[name], strict=True)
        if values
    }


def test_siblings_without_room_for_each_other_are_not_compared_but_teach_their_values():
    tree = small_tree(
        set_normalised__weight=np.array([0, 0.5, 0.5, 0, 0.25, 0.75], np.float32),
        set_normalised__correction=np.array([0, 1, 2, 3, 4, 5], np.float32),
        set_normalised__in_set=[False, True, True, True, True, True],
        value__target=np.ones(6, np.float32),
        value__weight=np.ones(6, np.float32),
    )
    parts = split(tree, Room(10, 6), COLUMNS)  # 2 + 3 + 4 + 5 is too much, 2 + 3 + 2 + 2 is not
    whole = paths(tree)
    assert learned_from(parts, "set_normalised.weight") == {whole[4]: 0.25, whole[5]: 0.75}
    assert learned_from(parts, "set_normalised.correction") == {whole[4]: 4, whole[5]: 5}
    assert learned_from(parts, "set_normalised.in_set") == {whole[4]: True, whole[5]: True}
    assert set(learned_from(parts, "value.weight")) == set(whole)


def test_a_family_that_one_objective_loses_another_one_may_have():
    """Siblings are compared by preferences alone: imitation of the set's weights goes on."""
    tree = small_tree(
        step_preferences__q=np.array([0, 1, 0.5, 0, 1, 0], np.float32),
        step_preferences__compared=[False, True, True, True, True, True],
        set_normalised__weight=np.array([0, 0.5, 0.5, 0, 0, 0], np.float32),
        set_normalised__in_set=np.zeros(6, bool),
        improved__weight=np.array([0, 0, 0, 1, 0, 0], np.float32),
    )
    parts, whole = split(tree, Room(10, 6), COLUMNS), paths(tree)
    assert learned_from(parts, "step_preferences.q") == {whole[4]: 1}
    assert learned_from(parts, "step_preferences.compared") == {whole[4]: True, whole[5]: True}
    assert learned_from(parts, "set_normalised.weight") == {whole[1]: 0.5, whole[2]: 0.5}
    assert learned_from(parts, "improved.weight") == {whole[3]: 1}


def test_steps_that_are_in_no_family_teach_although_their_siblings_must_not():
    """As a candidate of several steps, which has a weight and is in no set."""
    tree = small_tree(
        set_normalised__weight=np.array([0, 0.5, 0.25, 0.25, 0, 0], np.float32),
        set_normalised__in_set=[False, True, True, False, False, False],
    )
    parts, whole = split(tree, Room(10, 6), COLUMNS), paths(tree)
    assert learned_from(parts, "set_normalised.weight") == {whole[3]: 0.25}


def test_siblings_that_are_not_compared_may_be_parted(unique):
    """Many guesses at a problem, each with its own first line: more than fit beside each other."""
    star = dataclasses.replace(
        plain(unique(np.random.default_rng(0), steps=20)),
        parent=np.array([-1] + [0] * 19, np.int32),
    )
    parts = split(star, Room(16, 20), COLUMNS)
    taught = lambda tree: (tree.columns["improved.weight"] > 0).sum()  # noqa: E731
    assert sum(map(taught, parts)) == taught(star)


def test_families_that_nobody_learns_from_may_be_parted(unique):
    """A replay may hold columns of objectives that the run does not have."""
    tree = unique(np.random.default_rng(0), steps=20)
    star = dataclasses.replace(tree, parent=np.array([-1] + [0] * 19, np.int32))
    learned = [column for column in COLUMNS if column.objective == "improved"]
    names = [column.name for column in learned]
    taught = [part.columns[name] for part in split(star, Room(16, 20), learned) for name in names]
    assert sum(map(np.count_nonzero, taught)) == np.count_nonzero(star.columns["improved.weight"])
