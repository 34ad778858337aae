"""The lessons of several objectives put together."""

import numpy as np
import pytest

from expert_iter.learn.lessons import columns_of, step_trees
from expert_iter.learn.objectives.objective import Lessons, ObjectiveConfig
from expert_iter.learn.step_tree import OBSERVED, Column, StepTreeBuilder, flat
from tests.learn.search_trees import (
    BOS,
    NEWLINE,
    PROMPT,
    SCALE,
    STEPS,
    A,
    B,
    C,
    D,
    E,
    F,
    G,
    H,
    assert_columns,
    both,
    by_path,
    guesses,
    lesson,
    lost,
    rngs,
    searched,
    small,
)
from tests.objectives import objectives

# Weights of the improved policy, and values with all wrong candidates (None: no label).
BY_HAND = {
    (): (0, 1),
    (A,): (4 / 9, 1),
    (B,): (4 / 9, 0),
    (C,): (1 / 9, 0),
    (A, D): (1 / 2, 1),
    (A, E): (1 / 4, 0),
    (A, F): (1 / 4, None),
    (B, G): (1 / 4, 0),
    (B, H): (3 / 4, None),
}


def columns(facts, policy):
    return {
        path: {
            f"{policy}.weight": weight,
            "value.weight": float(value is not None),
            "value.target": value or 0,
        }
        for path, (weight, value) in facts.items()
    }


def test_step_tree_of_a_searched_tree_by_hand():
    sections = dict(improved=dict(nodes="all", **SCALE), value=dict(max_lost=99))
    made = lesson(small(), "improved", "value", **sections)
    assert_columns(made, columns(BY_HAND, "improved"))
    assert made.origin == ("train-0", 2, 1, 40)


def test_steps_that_teach_nothing_are_left_out():
    made = lesson(small(), "winners", "value", value=dict(max_lost=0))
    taught = {(): (0, 1), (A,): (1, 1), (B,): (0, 0), (A, D): (1, 1)}
    assert_columns(made, columns(taught, "winners"))
    made = lesson(lost(), "set_normalised", "value", value=dict(max_lost=0))
    assert_columns(made, columns({(): (0, 0), (A,): (0, 0), (B,): (0, 0)}, "set_normalised"))


ALL = "improved", "winners", "set_normalised", "step_preferences", "policy_gradient", "value"


@pytest.mark.parametrize("trees", [small, guesses, lost])
def test_objectives_that_need_the_same_step_share_it(trees):
    """Together they keep what any of them keeps alone, once, with each one's own columns."""
    together = by_path(lesson(trees(), *ALL))
    alone = [by_path(lesson(trees(), name)) for name in ALL]
    assert set(together) == {path for one in alone for path in one}
    for path, found in together.items():
        merged = {}
        for one in alone:
            merged |= one.get(path, {})
        assert found == merged, path
    if trees is not lost:
        shared = [path for path in together if sum(path in one for one in alone) > 1]
        assert len(shared) > 3


def test_what_leads_to_a_step_that_is_taught_is_kept_with_it():
    """Nothing is solved. Of node 1 d is better than the others; of the root all are about equal."""
    q = np.array([[[0.2, 0.3, 0.0], [1.0, 0.0, 0.4], [0.0, 0.0, 0.0]]])
    found = by_path(lesson(lost()._replace(q=q), "step_preferences"))
    assert set(found) == {(), (A,), (A, D), (A, E), (A, F)} and not found[(A,)]


def test_their_order_changes_nothing_but_the_order_of_columns():
    first, last = lesson(small(), *ALL), lesson(small(), *ALL[::-1])
    assert by_path(first) == by_path(last)
    np.testing.assert_array_equal(first.token, last.token)


def test_guesses_are_split_into_lines_with_shared_prefixes_merged():
    found = by_path(lesson(guesses(), "winners", "value", value=dict(max_lost=99)))
    learned = {
        path: (x.get("winners.weight", 0), x.get("value.target", 0)) for path, x in found.items()
    }
    assert all(x["value.weight"] == 1 for x in found.values())
    assert learned == {
        (): (0, 1),
        (A,): (0.5, 1),  # a wrong solution shares it, but a right one too
        (A, D): (0.5, 1),
        (A, E): (0, 0),
        (B,): (0.5, 1),
        (B, D): (0.5, 1),
        (B, F): (0, 0),
        (C,): (0, 0),
    }


@pytest.mark.parametrize("policy", ["winners", "improved"])
def test_guesses_that_teach_nothing_take_no_room(policy):
    sections = dict(improved=dict(maxvisit_init=99.0), value=dict(max_lost=0))
    found = by_path(lesson(guesses(), policy, "value", **sections))
    assert set(found) == {(), (A,), (A, D), (B,), (B, D)}


def test_without_objectives_a_search_teaches_nothing():
    made = lesson(small())
    assert not made.teaches and made.token.tolist() == PROMPT
    assert set(made.columns) == {"imitation.weight"}


def test_a_batch_has_one_step_tree_for_each_problem():
    prompts = [PROMPT, [BOS, 21]]
    trees, made = searched(both(small(), lost())), objectives("improved", "value")
    (first,), (second,) = step_trees(trees, prompts, STEPS, made, rngs(0, 1))
    assert first.token[:3].tolist() == PROMPT and second.token[:2].tolist() == [BOS, 21]
    assert first.columns["value.target"][0] == 1 and second.columns["value.target"][0] == 0
    assert first.columns["improved.weight"].sum() > 0
    assert second.columns["improved.weight"].sum() == 0
    assert second.columns["value.weight"][0] == 1, "that nothing was found is to be learned too"
    assert [tree.origin.problem for tree in (first, second)] == ["train-0", "train-1"]


def test_a_problems_randomness_is_its_own():
    """Which lost solutions are kept hangs on no neighbour: batches may be cut in any way."""
    made = objectives("winners", "value", value=dict(max_lost=1))

    def lessons(*seeds):
        trees = guesses() if len(seeds) == 1 else both(guesses(), guesses())
        found = step_trees(searched(trees), [PROMPT] * len(seeds), STEPS, made, rngs(*seeds))
        return [by_path(tree) for (tree,) in found]

    alone = [found for seed in range(16) for found in lessons(seed)]
    assert [found for seed in range(0, 16, 2) for found in lessons(seed, seed + 1)] == alone
    assert len({tuple(found) for found in alone}) > 1


class Second:
    """Teaches, of each problem but the first, a text of its own: two times the letter h."""

    columns = (Column("second.weight"), Column("second.flag", dtype="bool"))
    heads = ()
    config = ObjectiveConfig()

    def lessons(self, searched, rngs):
        nothing = np.zeros(searched.trees.won.shape, bool)
        count = len(nothing)
        return Lessons(
            nothing,
            {"second.weight": nothing},
            prompt={"second.flag": np.arange(count) % 2 == 0},
            texts={row: [self._text(row)] for row in range(1, count)},
        )

    def _text(self, row):
        builder = StepTreeBuilder([BOS, row], self.columns)
        path = builder.add_text(0, (H, NEWLINE, H, NEWLINE), STEPS)
        builder.give(path, "second.weight", 0.5 * row)
        return builder.build()


def test_texts_made_anew_follow_the_tree_of_their_problem():
    made = objectives("winners", "value") | {"second": Second()}
    trees = both(small(), small(), small())
    prompts = [PROMPT] * 3
    first, *others = step_trees(searched(trees), prompts, STEPS, made, rngs(0, 1, 2))
    assert len(first) == 1 and [len(own) for own in others] == [2, 2]
    for row, (tree, text) in enumerate(others, start=1):
        assert text.token.tolist() == [BOS, row, H, NEWLINE, H, NEWLINE]
        assert text.columns["second.weight"].tolist() == [0, 0.5 * row, 0.5 * row]
        assert tree.columns["second.flag"].tolist()[0] == (row % 2 == 0)
        # Trees and texts are kept together, where they have the same columns.
        names = {name for name in flat([tree, text]) if name.startswith("column.")}
        own = {column.name for column in columns_of(made)} - {OBSERVED}
        assert names == {f"column.{name}" for name in own}
