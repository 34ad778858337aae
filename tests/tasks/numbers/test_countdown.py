import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from expert_iter.errors import UserError
from expert_iter.tasks.numbers.countdown import Countdown, CountdownConfig
from expert_iter.tasks.numbers.number_game import NumberGame
from expert_iter.tasks.task import SPLITS

SMALL = {"train_size": 2000, "validation_size": 200, "test_size": 200}


def reachable(left, max_value):
    """Every value that whole-number play of `left` can end with."""
    if len(left) == 1:
        return set(left)
    values = set()
    for i, j in itertools.permutations(range(len(left)), 2):
        rest = [x for k, x in enumerate(left) if k not in (i, j)]
        a, b = left[i], left[j]
        for c in (a + b, a - b, a * b, a // b if b and a % b == 0 else -1):
            if 0 <= c <= max_value:
                values |= reachable([*rest, c], max_value)
    return values


def multisets(problems):
    return {tuple(sorted(problem.answer.numbers)) for problem in problems}


@pytest.mark.parametrize("numbers", [3, 4])
def test_every_problem_is_solvable_in_range_and_distinct(numbers):
    task = Countdown(CountdownConfig(numbers=numbers, largest=15, min_target=5, **SMALL))
    for split, size in (("validation", 200), ("test", 200), ("train", 2000)):
        problems = task.problems(split)
        assert len(problems) == size
        assert len({(*sorted(p.answer.numbers), p.answer.target) for p in problems}) == size
        assert len({p.id for p in problems}) == size
        for problem in problems[:100]:
            goal = problem.answer
            assert len(goal.numbers) == numbers and 5 <= goal.target <= 100
            assert all(1 <= n <= 15 for n in goal.numbers)
            assert goal.target in reachable(goal.numbers, 100)
            prompt = f"{' '.join(map(str, goal.numbers))} -> {goal.target}\n"
            assert problem.prompt == prompt


def test_small_ranges_are_exhausted():
    config = CountdownConfig(numbers=2, largest=9, validation_size=1, test_size=1)
    pool = Countdown(config)._sample()
    found = {(*sorted(goal.numbers), goal.target) for goal in pool}
    pairs = itertools.combinations_with_replacement(range(1, 10), 2)
    assert found == {(*p, t) for p in pairs for t in reachable(p, 100) if t >= 1}


def test_splits_are_disjoint_by_multiset_whatever_the_seed():
    held_out, trained = set(), set()
    for seed in (0, 1):
        task = Countdown(CountdownConfig(seed=seed, **SMALL))
        splits = [multisets(task.problems(split)) for split in SPLITS]
        assert sum(map(len, splits)) == len(set.union(*splits))
        trained |= splits[0]
        held_out |= splits[1] | splits[2]
    assert not trained & held_out
    everything = [multisets(Countdown(CountdownConfig()).problems(split)) for split in SPLITS]
    shares = np.array([len(found) for found in everything]) / 1540  # multisets of 3 out of 20
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.03)


def test_problems_repeat_and_depend_on_the_seed():
    def prompts(seed, split="validation", **sizes):
        task = Countdown(CountdownConfig(seed=seed, **{**SMALL, **sizes}))
        return [problem.prompt for problem in task.problems(split)]

    assert prompts(0) == prompts(0) != prompts(1)
    assert prompts(0) == prompts(0, train_size=20)  # held-out problems stay as training grows
    assert prompts(0, test_size=50, split="test") == prompts(0, split="test")[:50]


def test_numbers_are_not_sorted():
    numbers = [p.answer.numbers for p in Countdown(CountdownConfig(**SMALL)).problems("train")]
    assert 0.1 < np.mean([n == tuple(sorted(n)) for n in numbers]) < 0.3


def test_training_takes_what_there_is_but_held_out_problems_must_suffice():
    task = Countdown(CountdownConfig(largest=6, train_size=10_000, validation_size=1, test_size=1))
    assert 100 < len(task.problems("train")) < 10_000
    with pytest.raises(UserError, match=r"task.validation_size=512, but there are only \d+"):
        Countdown(CountdownConfig(largest=6)).problems("train")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("numbers", 1),
        ("numbers", 9),
        ("smallest", 21),
        ("smallest", -1),
        ("largest", 101),
        ("max_target", 101),
        ("min_target", 101),
        ("train_size", 0),
        ("test_size", -1),
        ("seed", -1),
    ],
)
def test_impossible_settings(key, value):
    with pytest.raises(UserError, match=f"task.{key} must be between .*, got {value}$"):
        CountdownConfig(**{key: value})


def test_problems_from_a_file(tmp_path):
    file = tmp_path / "mine.csv"
    rows = [f"{a} {b} 3,{a + b + 3}" for a in range(20) for b in range(20)]
    file.write_text("\n".join(["numbers,target", *rows]))
    task = Countdown(CountdownConfig(problems_file=str(file), train_size=50))
    splits = [multisets(task.problems(split)) for split in SPLITS]
    assert len(splits[0]) == 50 and all(splits)
    assert sum(map(len, splits)) == len(set.union(*splits))
    (tmp_path / "few.csv").write_text("numbers,target\n1 2,3\n")
    with pytest.raises(UserError, match="few.csv"):
        Countdown(CountdownConfig(problems_file=str(tmp_path / "few.csv"))).problems("test")


def test_hindsight_asks_for_what_a_play_came_to():
    task = Countdown(CountdownConfig(min_target=5, max_target=30, **SMALL))
    problem = task.parse("3 5 7 -> 16")
    play = "3 + 5 = 8 : 7 8\n7 + 8 = 15 : 15"
    other, text = task.relabel(problem, play)
    assert (other.prompt, other.id, text) == ("3 5 7 -> 15\n", problem.id, play)
    assert task.verdict(other, text) and not task.verdict(problem, text)
    too_large, too_small, fraction, illegal, unfinished = (
        "5 * 7 = 35 : 3 35\n35 - 3 = 32 : 32",
        "7 - 5 = 2 : 3 2\n3 - 2 = 1 : 1",
        "3 / 5 = 3/5 : 7 3/5\n7 + 3/5 = 38/5 : 38/5",
        "3 + 5 = 9 : 7 9\n7 + 9 = 16 : 16",
        "3 + 5 = 8 : 7 8",
    )
    for text in (too_large, too_small, fraction, illegal, unfinished):
        assert task.relabel(problem, text) is None


def test_a_game_without_settings_of_targets_can_tell_too():
    class Free(Countdown):
        """Its settings name no targets."""

        def __init__(self):
            NumberGame.__init__(self, SimpleNamespace(), max_value=20, max_denominator=1)

    task, play = Free(), "3 + 5 = 8 : 7 8\n7 + 8 = 15 : 15"
    problem = task.parse("3 5 7 -> 16")
    assert task.relabel(problem, play)[0].prompt == "3 5 7 -> 15\n"
    assert task.relabel(problem, "3 * 5 = 15 : 7 15\n7 + 15 = 22 : 22") is None
