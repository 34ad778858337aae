"""What is reachable, against all plays of the world."""

import itertools
from fractions import Fraction

import pytest

from expert_iter.tasks import load_task
from expert_iter.tasks.numbers.reachable import target_is_reachable, values
from expert_iter.tasks.numbers.rules import NumberRules
from expert_iter.tasks.world import GOES_ON, OVER


def played(prompt, text=""):
    """The last numbers of all plays that go on from a text."""
    left = text.splitlines()[-1].partition(" : ")[2] if text else prompt.partition(" ->")[0]
    found = set()
    for a, b in itertools.permutations(left.split(), 2):
        for operator in "+-*/":
            move = f"{text}{a} {operator} {b} ="
            answer = NumberRules().observe(prompt, move)
            if answer.status == OVER:
                found.add(Fraction(answer.text.rpartition(" ")[2]))
            elif answer.status == GOES_ON:
                found |= played(prompt, move + answer.text)
    return found


@pytest.mark.parametrize("numbers", ["3 5 7", "2 2 6 1", "8 3 8 3", "1 1 1"])
def test_values_are_those_of_all_plays(numbers):
    expected = played(f"{numbers} -> 1\n")
    assert set(values(tuple(sorted(map(int, numbers.split()))))) == expected
    for target in (1, 24, 15, 7, 13, 99):
        assert target_is_reachable(f"{numbers} -> {target}\n", "") == (target in expected)


def test_a_prefix_is_worth_what_its_remaining_numbers_can_come_to():
    prompt = "3 5 7 -> 15\n"
    assert target_is_reachable(prompt, "3 + 5 = 8 : 7 8\n")
    assert not target_is_reachable(prompt, "3 * 5 = 15 : 7 15\n")
    assert target_is_reachable(prompt, "3 + 5 = 8 : 7 8\n7 + 8 = 15 : 15")
    assert not target_is_reachable(prompt, "3 + 5 = 8 : 7 8\n8 - 7 = 1 : 1")


def test_every_problem_can_be_solved():
    task = load_task("countdown", dict(numbers=4, train_size=50, validation_size=5, test_size=5))
    for problem in task.problems("train"):
        assert target_is_reachable(problem.prompt, "")
