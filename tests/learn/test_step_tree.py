import dataclasses

import numpy as np
import pytest

from expert_iter.learn.step_tree import StepTree, StepTreeBuilder, flat, parted
from tests.steps import steps_at

NEWLINE = 3


def facts(tree):
    """Each step's path of texts, and what is to be learned at its end."""
    ends = np.cumsum(tree.length)
    texts = [tuple(tree.token[e - n : e]) for e, n in zip(ends, tree.length, strict=True)]
    paths = []
    for text, parent in zip(texts, tree.parent, strict=True):
        paths.append((*(paths[parent] if parent >= 0 else ()), text))
    known = (tree.policy_weight, tree.value_target, tree.value_weight, tree.correction, tree.in_set)
    return dict(zip(paths, map(tuple, np.stack(known, axis=1).tolist()), strict=True))


def test_a_prefix_is_stored_once_and_a_step_under_another_parent_again():
    builder = StepTreeBuilder([1, 5])
    a = builder.add(0, (6, NEWLINE))
    assert builder.add(0, (6, NEWLINE)) == a
    b = builder.add(0, (7, NEWLINE))
    assert builder.add(b, (6, NEWLINE)) not in (a, b)
    tree = builder.build()
    assert tree.token.tolist() == [1, 5, 6, 3, 7, 3, 6, 3]
    assert tree.length.tolist() == [2, 2, 2, 2]
    assert tree.parent.tolist() == [-1, 0, 0, 2]
    assert tree.size == 8


def test_lines_of_a_text_become_steps_and_what_two_texts_share_is_merged():
    builder = StepTreeBuilder([1])
    first = builder.add_text(0, (6, NEWLINE, 7, 7, NEWLINE, 8, 2), steps_at(NEWLINE))
    second = builder.add_text(0, (6, NEWLINE, 9, NEWLINE), steps_at(NEWLINE))
    assert first == [1, 2, 3] and second == [1, 4]
    tree = builder.build()
    assert set(facts(tree)) == {
        ((1,),),
        ((1,), (6, 3)),
        ((1,), (6, 3), (7, 7, 3)),
        ((1,), (6, 3), (7, 7, 3), (8, 2)),
        ((1,), (6, 3), (9, 3)),
    }


def test_policy_weights_add_up_and_of_value_targets_the_best_holds():
    builder = StepTreeBuilder([1])
    step, other = builder.add(0, (6,)), builder.add(0, (7,))
    builder.learn_policy(step, 0.25)
    builder.learn_policy(step, 0.5)
    for target in (0.25, 0.75, 0.5):
        builder.learn_value(step, target)
    builder.learn_value(other, 0.0, weight=0.5)
    builder.compare(other, -1.5)
    tree = builder.build()
    assert facts(tree) == {
        ((1,),): (0, 0, 0, 0, 0),
        ((1,), (6,)): (0.75, 0.75, 1, 0, 0),
        ((1,), (7,)): (0, 0, 0.5, -1.5, 1),
    }
    assert tree.in_set.dtype == bool and tree.token.dtype == np.int32


def test_a_tree_teaches_if_any_step_has_a_weight():
    builder = StepTreeBuilder([1])
    step = builder.add(0, (6,))
    builder.compare(step, 1.0)
    assert not builder.build().teaches
    builder.learn_value(step, 0.0)
    assert builder.build().teaches
    builder = StepTreeBuilder([1])
    builder.learn_policy(builder.add(0, (6,)), 0.1)
    assert builder.build().teaches


@pytest.mark.parametrize("count", [0, 1, 7])
def test_trees_come_back_from_flat_arrays_bit_for_bit(random_tree, count):
    rng = np.random.default_rng(count)
    trees = [random_tree(rng, steps=rng.integers(1, 6)) for _ in range(count)]
    arrays = flat(trees)
    assert all(isinstance(array, np.ndarray) and array.ndim == 1 for array in arrays.values())
    assert arrays["tokens"].tolist() == [tree.size for tree in trees]
    again = parted(arrays)
    assert len(again) == count
    for tree, other in zip(trees, again, strict=True):
        for name in (field.name for field in dataclasses.fields(StepTree)):
            a, b = getattr(tree, name), getattr(other, name)
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
