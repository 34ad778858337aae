import functools
import itertools
import random
from fractions import Fraction

import numpy as np
import pytest

from expert_iter.errors import UserError
from expert_iter.tasks.numbers.game24 import Game24, Game24Config, solvable_puzzles
from expert_iter.tasks.task import SPLITS


def multisets(problems):
    return {tuple(sorted(problem.answer.numbers)) for problem in problems}


def combine(x, y):
    yield from (x + y, x - y, y - x, x * y)
    if y:
        yield x / y
    if x:
        yield y / x


@functools.cache
def values(numbers):
    """Every value of every expression that uses all of at most three sorted numbers."""
    if len(numbers) == 1:
        return {Fraction(numbers[0])}
    return {
        value
        for i in range(len(numbers))
        for x in values(numbers[:i] + numbers[i + 1 :])
        for value in combine(x, Fraction(numbers[i]))
    }


def makes_24(numbers):
    """By working back from 24: what would the other part have to be?"""
    target = Fraction(24)
    for size in (1, 2):
        for chosen in itertools.combinations(range(4), size):
            part = tuple(numbers[i] for i in chosen)
            other = values(tuple(numbers[i] for i in range(4) if i not in chosen))
            for x in values(part):
                needed = {target - x, target + x, x - target}
                if x:
                    needed |= {target / x, target * x, x / target}
                if needed & other:
                    return True
    return False


def test_solvable_puzzles_against_a_search_backwards():
    every = itertools.combinations_with_replacement(range(1, 14), 4)
    assert solvable_puzzles() == [numbers for numbers in every if makes_24(numbers)]
    assert len(solvable_puzzles()) == 1362


def write_list(path, ranks):
    """A list like the public one, of the first solvable puzzles, their numbers shuffled."""
    shuffler = random.Random(0)
    lines = ["Rank,Puzzles,Solved rate"]
    for rank, numbers in zip(ranks, solvable_puzzles(), strict=False):
        lines.append(f"{rank},{' '.join(map(str, shuffler.sample(numbers, 4)))},50%")
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_without_a_file_all_puzzles_are_split():
    splits = [multisets(Game24(Game24Config()).problems(split)) for split in SPLITS]
    assert list(map(len, splits)) == [1162, 100, 100]
    assert set.union(*splits) == set(solvable_puzzles())


def test_the_test_is_ranks_901_to_1000(tmp_path):
    task = Game24(Game24Config(file=write_list(tmp_path / "24.csv", range(1, 1363))))
    assert multisets(task.problems("test")) == set(solvable_puzzles()[900:1000])
    splits = [multisets(task.problems(split)) for split in SPLITS]
    assert list(map(len, splits)) == [1162, 100, 100]
    assert len(set.union(*splits)) == 1362


def test_a_list_without_those_ranks_is_split_by_hash(tmp_path):
    file = write_list(tmp_path / "24.csv", [*range(1, 901), *range(1001, 1363)])
    task = Game24(Game24Config(file=file))
    splits = [multisets(task.problems(split)) for split in SPLITS]
    assert list(map(len, splits)) == [1062, 100, 100]
    assert len(set.union(*splits)) == 1262
    again = Game24(Game24Config(file=file, seed=7))
    assert [multisets(again.problems(split)) for split in SPLITS] == splits


@pytest.mark.parametrize("train_targets", ["game", "any"])
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_excluded_puzzles_never_occur_in_training(tmp_path, train_targets, suffix):
    excluded = set(solvable_puzzles()[::3])
    file = tmp_path / f"exclude.{suffix}"
    backwards = [" ".join(map(str, reversed(numbers))) for numbers in sorted(excluded)]
    if suffix == "csv":
        file.write_text("\n".join(["Rank,Puzzles"] + [f"{i},{p}" for i, p in enumerate(backwards)]))
    else:
        file.write_text("\n".join(f'{{"numbers": "{p}", "target": 24}}' for p in backwards))
    config = Game24Config(exclude=str(file), train_targets=train_targets, train_size=5000)
    task = Game24(config)
    train, validation, test = (multisets(task.problems(split)) for split in SPLITS)
    assert not excluded & (train | validation)
    assert not train & validation and not (train | validation) & test
    assert test == multisets(Game24(Game24Config()).problems("test"))


def test_curriculum():
    config = Game24Config(train_targets="any", train_size=4000, curriculum_share=0.5, max_target=60)
    task = Game24(config)
    train = task.problems("train")
    plain = Game24(Game24Config())
    puzzles = [p for p in train if len(p.answer.numbers) == 4 and p.answer.target == 24]
    assert len(train) == 4000
    assert sum(len(p.answer.numbers) == 3 for p in train) == 1000
    assert 2000 <= len(puzzles) < 2200
    assert multisets(puzzles) == multisets(plain.problems("train"))
    assert all(1 <= p.answer.target <= 60 for p in train)
    held_out = multisets(plain.problems("test")) | multisets(plain.problems("validation"))
    assert not held_out & multisets(train)
    assert task.problems("test") == plain.problems("test")


def test_curriculum_avoids_puzzles_that_the_file_withholds(tmp_path):
    file = write_list(tmp_path / "24.csv", range(1, 801))
    task = Game24(Game24Config(file=file, train_targets="any", train_size=20_000))
    assert not set(solvable_puzzles()[800:]) & multisets(task.problems("train"))


def test_fractions_are_a_setting():
    problem = Game24(Game24Config()).parse("3 3 8 8")
    for fractions in (True, False):
        task = Game24(Game24Config(fractions=fractions))
        rng = np.random.default_rng(0)
        plays = [task.demonstration(problem, rng) for _ in range(200)]
        assert all(task.is_legal(problem, play) for play in plays)
        assert fractions == any("8/3" in play for play in plays)


def test_verdict_of_a_puzzle_that_needs_fractions():
    task = Game24(Game24Config())
    problem = task.parse("8 8 3 3")
    solution = "8 / 3 = 8/3 : 8 3 8/3\n3 - 8/3 = 1/3 : 8 1/3\n8 / 1/3 = 24 : 24"
    assert task.verdict(problem, solution)
    assert not task.verdict(problem, solution.replace("24", "25"))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("7,1 2 3", "not a puzzle of four numbers"),
        ("7,1 2 3 14", "not a puzzle of four numbers"),
        ("7,1 2 3 x", "'x' is not a whole number"),
        ("seven,1 1 4 6", "'seven' is not a whole number"),
    ],
)
def test_a_damaged_list_names_the_line(tmp_path, row, reason):
    file = tmp_path / "24.csv"
    file.write_text(f"Rank,Puzzles\n1,1 1 4 6\n{row}\n")
    with pytest.raises(UserError, match=f"24.csv, line 3: {reason}"):
        Game24(Game24Config(file=str(file))).problems("train")


def test_too_short_a_list(tmp_path):
    file = write_list(tmp_path / "24.csv", [1, 2])
    with pytest.raises(UserError, match="task.file"):
        Game24(Game24Config(file=file)).problems("train")


@pytest.mark.parametrize(
    "settings",
    [{"train_targets": "all"}, {"curriculum_share": 1.5}, {"max_target": 0}, {"max_value": 23}],
)
def test_impossible_settings(settings):
    with pytest.raises(UserError, match=f"task.{next(iter(settings))} must be "):
        Game24Config(**settings)
