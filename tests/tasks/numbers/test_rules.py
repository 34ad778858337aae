"""The world of number games allows exactly what the verifier allows, and tells nothing else."""

import itertools
from fractions import Fraction

import numpy as np
import pytest

from expert_iter.errors import UserError
from expert_iter.tasks import load_task
from expert_iter.tasks.numbers.arithmetic import final_value
from expert_iter.tasks.numbers.rules import NumberRules
from expert_iter.tasks.world import GOES_ON, ILLEGAL, OVER, Observation

RULES = NumberRules()


@pytest.mark.parametrize("blank", ["", " "])
@pytest.mark.parametrize(
    "prompt, text, says",
    [
        ("3 5 7 -> 15\n", "3 + 5 =", Observation("8 : 7 8\n", GOES_ON)),
        ("3 5 7 -> 15\n", "3 + 5 = 8 : 7 8\n8 - 7 =", Observation("1 : 1", OVER)),
        ("3 5 7 -> 15\n", "3 / 5 =", Observation("3/5 : 7 3/5\n", GOES_ON)),
        ("3 5 7 -> 15\n", "3 - 5 =", Observation("-2 : 7 -2\n", GOES_ON)),
        ("8 3 8 3 -> 24\n", "8 / 3 =", Observation("8/3 : 8 3 8/3\n", GOES_ON)),
        ("8 3 8 3 -> 24\n", "8 / 3 = 8/3 : 8 3 8/3\n3 - 8/3 =", Observation("1/3 : 8 1/3\n")),
        ("2 2 -> 4\n", "2 * 2 =", Observation("4 : 4", OVER)),
    ],
)
def test_a_legal_move_is_answered(prompt, text, says, blank):
    answer = "" if blank else " "
    assert RULES.observe(prompt, text + blank) == says._replace(text=answer + says.text)


@pytest.mark.parametrize(
    "text",
    [
        "3 + 6 =",  # there is no 6
        "3 + 3 =",  # one 3
        "3 + 5",
        "3 + 5 = 8 : 7 8\n",
        "3 + 5 = 8",
        "3 + 5 = 9 : 7 9\n7 + 9",
        "3 ^ 5 =",
        "3 +5 =",
        "3 + 5 = ",
        "3 + 5 =  ",
        "03 + 5 =",
        "3 + 5 = 8 : 7 8\n3 + 7 =",
        "",
        "\n",
        "3 5 7 -> 15",
        "8 = 3 + 5 =",
        "⁵ + 3 =",
    ],
)
def test_what_is_no_legal_move_is_illegal(text):
    if text == "3 + 5 = ":
        assert RULES.observe("3 5 7 -> 15\n", text).status == GOES_ON
    else:
        assert RULES.observe("3 5 7 -> 15\n", text) == Observation("", ILLEGAL)


def test_division_by_zero_and_numbers_of_too_many_digits_are_illegal():
    assert RULES.observe("0 5 7 -> 15\n", "5 / 0 =").status == ILLEGAL
    assert RULES.observe("999999 999999 2 -> 1\n", "999999 * 999999 =").status == GOES_ON
    text = "999999 * 999999 = 999998000001 : 2 999998000001\n999998000001 * 2 ="
    assert RULES.observe("999999 999999 2 -> 1\n", text).status == ILLEGAL


def values(numbers):
    """All that moves can come to, by another way of counting: pairs of sets."""
    if len(numbers) == 1:
        return {numbers[0]}
    found = set()
    for i, j in itertools.permutations(range(len(numbers)), 2):
        a, b = numbers[i], numbers[j]
        rest = [x for k, x in enumerate(numbers) if k not in (i, j)]
        for c in (a + b, a - b, a * b, a / b if b else None):
            if c is not None:
                found |= values([*rest, c])
    return found


def test_every_play_of_the_world_is_a_legal_solution_and_all_values_are_reached():
    numbers, reached = (3, 8, 8, 2), set()

    def play(text):
        left = text.split("\n")[-2].partition(" : ")[2] if "\n" in text else "3 8 8 2"
        for a, b in itertools.permutations(left.split(), 2):
            for operator in "+-*/":
                move = f"{text}{a} {operator} {b} ="
                answer = RULES.observe("3 8 8 2 -> 1\n", move)
                if answer.status == OVER:
                    value = final_value(numbers, move + answer.text)
                    assert value is not None
                    reached.add(value)
                elif answer.status == GOES_ON:
                    play(move + answer.text)

    play("")
    assert reached == values([Fraction(n) for n in numbers])


def test_the_target_changes_nothing():
    for text in ("3 + 5 =", "3 + 5 = 8 : 7 8\n7 + 8 ="):
        said = {RULES.observe(f"3 5 7 -> {target}\n", text) for target in range(30)}
        assert len(said) == 1


@pytest.mark.parametrize("name", ["countdown", "game24"])
def test_demonstrations_are_what_the_world_answers(name):
    settings = dict(train_size=60, validation_size=5, test_size=5) if name == "countdown" else {}
    task = load_task(name, {"rules": "world", **settings})
    rng = np.random.default_rng(0)
    for problem in task.problems("train")[:60]:
        solution, text = task.demonstration(problem, rng), ""
        assert task.is_legal(problem, solution)
        while text != solution:
            text += solution[len(text) :].partition("=")[0] + "="
            assert solution.startswith(text)
            answer = task.world.observe(problem.prompt, text)
            text += answer.text
            assert answer.status == (OVER if text == solution else GOES_ON)


def test_the_rules_are_the_networks_unless_the_world_is_asked_for():
    assert load_task("countdown", {"train_size": 10}).world is None
    with pytest.raises(UserError, match=r"task\.rules must be .*network.*world"):
        load_task("countdown", {"rules": "none"})
