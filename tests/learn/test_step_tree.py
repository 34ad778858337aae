import numpy as np
import pytest

from expert_iter.learn.step_tree import Column, Origin, StepTreeBuilder, flat, parted
from tests.learn.trees import assert_same_trees, paths
from tests.steps import steps_at

NEWLINE = 3


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
    assert set(paths(tree)) == {
        ((1,),),
        ((1,), (6, 3)),
        ((1,), (6, 3), (7, 7, 3)),
        ((1,), (6, 3), (7, 7, 3), (8, 2)),
        ((1,), (6, 3), (9, 3)),
    }


def given(column, *values, steps=2):
    """The column of a prompt and of `steps` steps after it that are given values one after the
    other.
    """
    builder = StepTreeBuilder([1], [column])
    path = [builder.add(g, (5 + g,)) for g in range(steps)]
    for value in values:
        builder.give(path, column.name, value)
    found = builder.build().columns[column.name]
    assert found.dtype == column.dtype
    return found.tolist()


@pytest.mark.parametrize(
    ("combine", "values", "combined"),
    [
        ("sum", (0.25, 0.5), 0.75),
        ("max", (0.25, 0.75, 0.5), 0.75),
        ("last", (0.25, 0.75, 0.5), 0.5),
        ("max", (-0.5, -0.75), -0.5),  # a step that was given nothing is not worth 0
        ("sum", (0.25, 0.0), 0.25),
        ("last", (0.25, 0.0), 0.25),  # 0 gives none
    ],
)
def test_of_several_values_a_column_keeps_their_sum_the_largest_or_the_last(
    combine, values, combined
):
    assert given(Column("a.b", combine=combine), *values) == [0, combined, combined]


@pytest.mark.parametrize(
    ("along", "steps", "expected"),
    [
        ("each", 3, [0, 0.5, 0.5, 0.5]),
        ("last", 3, [0, 0, 0, 0.5]),
        ("steps", 3, [0, 0, 0, 1.5]),
        ("alone", 3, [0, 0, 0, 0]),
        *((along, 1, [0, 0.5]) for along in ("each", "last", "steps", "alone")),
    ],
)
def test_a_column_says_which_steps_of_a_candidate_have_its_value(along, steps, expected):
    assert given(Column("a.b", along=along), 0.5, steps=steps) == expected


def test_columns_have_their_types_and_steps_their_own_values():
    columns = Column("one.weight", combine="sum"), Column("two.flag", dtype="bool")
    builder = StepTreeBuilder([1], columns)
    step, other = builder.add(0, (6,)), builder.add(0, (7,))
    builder.give([step], "one.weight", 0.25)
    builder.give([other], "two.flag", 1.0)
    tree = builder.build(Origin("train-3", 2, 1, 40))
    assert {name: (str(x.dtype), x.tolist()) for name, x in tree.columns.items()} == {
        "one.weight": ("float32", [0, 0.25, 0]),
        "two.flag": ("bool", [False, False, True]),
    }
    assert tree.token.dtype == np.int32 and tree.origin == ("train-3", 2, 1, 40)
    assert [column.objective for column in columns] == ["one", "two"]


def test_a_tree_teaches_if_any_step_has_a_value_in_any_column():
    columns = Column("one.weight"), Column("two.flag", dtype="bool")
    for name, value in (("one.weight", -0.1), ("two.flag", True)):
        builder = StepTreeBuilder([1], columns)
        step = builder.add(0, (6,))
        assert not builder.build().teaches and not builder.build().teaching.any()
        builder.give([step], name, value)
        assert builder.build().teaches and builder.build().teaching.tolist() == [False, True]


@pytest.mark.parametrize("count", [0, 1, 7])
def test_trees_come_back_from_flat_arrays_bit_for_bit(random_tree, count):
    rng = np.random.default_rng(count)
    trees = [random_tree(rng, steps=rng.integers(1, 6)) for _ in range(count)]
    arrays = flat(trees)
    assert all(isinstance(array, np.ndarray) and array.ndim == 1 for array in arrays.values())
    assert arrays["tokens"].tolist() == [tree.size for tree in trees]
    assert_same_trees(trees, parted(arrays))


def test_a_column_that_only_some_trees_have_is_zero_for_the_others(random_tree):
    """As where searched trees and texts made anew are kept together."""
    tree = random_tree(np.random.default_rng(0))
    builder = StepTreeBuilder([1], [Column("mine.flag", dtype="bool")])
    builder.give([builder.add(0, (6,))], "mine.flag", True)
    own = builder.build()
    first, second = parted(flat([tree, own]))
    nothing = np.zeros(len(tree.length), bool)
    assert_same_trees([first], [tree.with_columns({"mine.flag": nothing})])
    zeros = {name: np.zeros(2, x.dtype) for name, x in tree.columns.items()}
    assert_same_trees([second], [own.with_columns(zeros)])
