"""Made-up stories: solutions checked by an evaluator of their own, and by the verifier."""

import re
from fractions import Fraction

import numpy as np
import pytest

from expert_iter.tasks import load_task
from expert_iter.tasks.task import SPLITS
from expert_iter.tasks.words.questions import normalised

SIZES = {"train_size": 600, "validation_size": 50, "test_size": 60}


@pytest.fixture(scope="module")
def task():
    return load_task("stories", SIZES)


def test_every_line_of_a_solution_is_true_and_uses_what_is_known(task):
    shown = set()
    for split in SPLITS:
        for row in task.rows(split):
            known = {int(n) for n in re.findall("[0-9]+", row.question)}
            *equations, last = row.solution.split("\n")
            for line in equations:
                left, sign, right, result = re.fullmatch(
                    r"([0-9]+) ([-+*/]) ([0-9]+) = ([0-9]+)", line
                ).groups()
                assert {int(left), int(right)} <= known
                a, b = Fraction(left), Fraction(right)
                assert {"+": a + b, "-": a - b, "*": a * b, "/": a / b}[sign] == int(result)
                known.add(int(result))
                shown.add(sign)
            assert last == f"#### {row.answer}" and equations[-1].endswith(f"= {row.answer}")
            assert 1 <= len(equations) <= 3
    assert shown == set("+-*/")


def test_demonstrations_are_right_and_another_number_is_wrong(task):
    rng = np.random.default_rng(0)
    for problem in task.problems("test"):
        solution = task.demonstration(problem, rng)
        assert task.verdict(problem, solution)
        assert not task.verdict(problem, solution + "1")


def test_no_question_occurs_twice_in_any_split(task):
    asked = [normalised(row.question) for split in SPLITS for row in task.rows(split)]
    assert len(set(asked)) == len(asked) == sum(SIZES.values())


def test_a_question_is_in_one_split_whatever_the_seed(task):
    other = load_task("stories", SIZES | {"seed": 1, "train_size": 3000, "largest": 10})
    splits = {normalised(row.question): split for split in SPLITS for row in task.rows(split)}
    again = {normalised(row.question): split for split in SPLITS for row in other.rows(split)}
    assert set(splits) != set(again)
    assert all(splits[question] == again[question] for question in set(splits) & set(again))
    assert load_task("stories", SIZES).rows("test") == task.rows("test")


def test_a_file_of_problems_is_read(task, tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"question": "Ann has 3 pens and buys 4. How many?", "answer": 7}\n')
    [problem] = task.read(path)
    assert task.verdict(problem, "3 + 4 = 7\n#### 7") and not task.verdict(problem, "#### 8")
