import dataclasses

import numpy as np
import pytest

from expert_iter.learn.splitting import split
from expert_iter.learn.step_tree import StepTree

FACTS = ("policy_weight", "value_target", "value_weight", "correction", "in_set")


def paths(tree):
    """The text of each step with all before it."""
    found, ends = [], np.cumsum(tree.length)
    for g, parent in enumerate(tree.parent):
        text = tuple(tree.token[ends[g] - tree.length[g] : ends[g]].tolist())
        found.append((*(found[parent] if parent >= 0 else ()), text))
    return found


@pytest.fixture
def unique(random_tree):
    """A random tree no two steps of which have the same text."""

    def make(rng, **size):
        tree = random_tree(rng, **size)
        return dataclasses.replace(tree, token=np.arange(tree.size, dtype=np.int32))

    return make


def test_a_tree_that_fits_is_left_alone(unique):
    tree = unique(np.random.default_rng(0))
    assert split(tree, tree.size, len(tree.length)) == [tree]


@pytest.mark.parametrize("seed", range(8))
def test_parts_fit_and_teach_together_what_the_whole_does_once(unique, seed):
    rng = np.random.default_rng(seed)
    tree = unique(rng, steps=30)
    limits = (40, 18)
    parts = split(tree, *limits)
    assert len(parts) > 1
    whole = {path: g for g, path in enumerate(paths(tree))}
    learned = dict.fromkeys(whole, 0)
    for part in parts:
        assert part.size <= limits[0] and len(part.length) <= limits[1]
        assert part.size == part.length.sum() and part.teaches
        assert part.parent[0] == -1 and (part.parent[1:] < np.arange(1, len(part.parent))).all()
        for name in (field.name for field in dataclasses.fields(StepTree)):
            assert getattr(part, name).dtype == getattr(tree, name).dtype
        for g, path in enumerate(paths(part)):
            # Nothing but prefixes of the whole tree, with its facts or with none of them.
            of_whole = {name: getattr(tree, name)[whole[path]] for name in FACTS}
            of_part = {name: getattr(part, name)[g] for name in FACTS}
            if of_part["policy_weight"] or of_part["value_weight"] or of_part["in_set"]:
                assert of_part == of_whole
                learned[path] += 1
    for path, g in whole.items():
        teaches = tree.policy_weight[g] or tree.value_weight[g]
        assert learned[path] == 1 if teaches else learned[path] <= 1


@pytest.mark.parametrize("seed", range(4))
def test_steps_that_are_compared_stay_with_all_their_siblings(unique, seed):
    tree = unique(np.random.default_rng(seed), steps=30)
    families = {}
    for g, path in enumerate(paths(tree)):
        if tree.in_set[g]:
            families.setdefault(path[:-1], set()).add(path)
    for part in split(tree, 40, 18):
        found = {}
        for g, path in enumerate(paths(part)):
            if part.in_set[g]:
                found.setdefault(path[:-1], set()).add(path)
        for before, family in found.items():
            assert family == families[before]


def test_parts_that_teach_nothing_are_dropped(unique):
    tree = unique(np.random.default_rng(1), steps=30)
    silent = np.zeros(30, np.float32)
    last = silent.copy()
    last[29] = 1.0
    one = dataclasses.replace(tree, policy_weight=last, value_weight=silent)
    (part,) = split(one, 40, 18)
    assert part.policy_weight.sum() == 1


@pytest.mark.parametrize("limits", [(14, 18), (40, 3), (8, 3), (4, 5), (2, 9)])
@pytest.mark.parametrize("seed", range(4))
def test_what_no_row_has_room_for_is_left_out_and_the_rest_is_taught(unique, seed, limits):
    tree = unique(np.random.default_rng(seed), steps=30)
    tree = dataclasses.replace(tree, in_set=np.zeros(30, bool))
    learned = set()
    for part in split(tree, *limits):
        assert part.size <= limits[0] and len(part.length) <= limits[1]
        taught = np.flatnonzero(part.policy_weight + part.value_weight)
        learned |= {paths(part)[g] for g in taught}
    assert learned == {
        path
        for g, path in enumerate(paths(tree))
        if sum(map(len, path)) <= limits[0] and len(path) <= limits[1]
        if tree.policy_weight[g] or tree.value_weight[g]
    }


def test_siblings_without_room_for_each_other_are_not_compared_but_teach_their_values():
    """A prompt, three steps after it, and two after the first of them."""
    tree = StepTree(
        token=np.arange(18, dtype=np.int32),
        length=np.array([2, 3, 4, 5, 2, 2], np.int32),
        parent=np.array([-1, 0, 0, 0, 1, 1], np.int32),
        policy_weight=np.array([0, 0.5, 0.5, 0, 0.25, 0.75], np.float32),
        value_target=np.ones(6, np.float32),
        value_weight=np.ones(6, np.float32),
        correction=np.zeros(6, np.float32),
        in_set=np.array([0, 1, 1, 1, 1, 1], bool),
    )
    values, policy = set(), {}
    for part in split(tree, 10, 6):  # 2 + 3 + 4 + 5 is too much, 2 + 3 + 2 + 2 is not
        for g, path in enumerate(paths(part)):
            values |= {path} if part.value_weight[g] else set()
            if part.policy_weight[g]:
                assert part.in_set[g]
                policy[path] = float(part.policy_weight[g])
    whole = paths(tree)
    assert values == set(whole) and policy == {whole[4]: 0.25, whole[5]: 0.75}


def test_siblings_that_are_not_compared_may_be_parted(unique):
    """Many guesses at a problem, each with its own first line: more than fit beside each other."""
    star = dataclasses.replace(
        unique(np.random.default_rng(0), steps=20),
        parent=np.array([-1] + [0] * 19, np.int32),
        in_set=np.zeros(20, bool),
    )
    parts = split(star, 16, 20)
    assert sum((part.policy_weight > 0).sum() for part in parts) == (star.policy_weight > 0).sum()
