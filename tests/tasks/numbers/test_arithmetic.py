import itertools
import re
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expert_iter.tasks.numbers import arithmetic
from expert_iter.tasks.numbers.generate import random_targets

RIGHT = "3 + 5 = 8 : 7 8\n7 + 8 = 15 : 15"
NUMBER = "(?:0|-?[1-9][0-9]{0,11})(?:/[1-9][0-9]{0,11})?"
STEP = re.compile(f"({NUMBER}) ([-+*/]) ({NUMBER}) = ({NUMBER}) : ({NUMBER}(?: {NUMBER})*)")


def judge(numbers, solution):
    """A second verifier, slow and plain: the final value of a legal solution, or None."""
    left = Counter(map(Fraction, numbers))
    for line in solution.split("\n"):
        match = STEP.fullmatch(line)
        if match is None:
            return None
        a, operator, b, c, remain = match.groups()
        used = Counter([Fraction(a), Fraction(b)])
        if used - left:
            return None
        try:
            if eval(f"Fraction('{a}') {operator} Fraction('{b}')") != Fraction(c):
                return None
        except ZeroDivisionError:
            return None
        left = left - used + Counter([Fraction(c)])
        if left != Counter(map(Fraction, remain.split(" "))):
            return None
    return next(iter(left)) if left.total() == 1 else None


@pytest.mark.parametrize(
    ("numbers", "solution", "value"),
    [
        ((3, 5, 7), RIGHT, 15),
        ((3, 5, 7), "3 + 5 = 8 : 8 7\n7 + 8 = 15 : 15", 15),  # remaining numbers in any order
        ((5, 5), "5 / 5 = 1 : 1", 1),
        ((6, 4), "6 / 4 = 6/4 : 3/2", Fraction(3, 2)),  # lowest terms are not asked for
        ((2, 5), "2 - 5 = -3 : -3", -3),
        ((3, 3, 8, 8), "8 / 3 = 8/3 : 3 8 8/3\n3 - 8/3 = 1/3 : 8 1/3\n8 / 1/3 = 24 : 24", 24),
        ((0, 5), "5 / 0 = 0 : 0", None),
        ((0, 0), "0 / 0 = 0 : 0", None),
        ((3, 5, 7), RIGHT + "\n", None),
        ((3, 5, 7), "3 + 5 = 8 : 7 8", None),  # not finished
        ((3, 5, 7), "3 + 5 = 9 : 7 9\n7 + 9 = 16 : 16", None),  # untrue
        ((3, 5, 7), "3 + 3 = 6 : 7 6\n7 + 6 = 13 : 13", None),  # a number used twice
        ((3, 5, 7), "3 + 5 = 8 : 8\n8 + 7 = 15 : 15", None),  # a number left out of the list
        ((3, 5, 7), "3 + 5 = 8 : 7 7 8\n7 + 8 = 15 : 15", None),
        ((3, 5), "3 + 5 = 08 : 8", None),
        ((3, 5), "3 + 5 = 8 : 8 ", None),
        ((3, 5), "3  + 5 = 8 : 8", None),
        ((3, 5), "3 + 5 = 8.0 : 8.0", None),
        ((3, 5), "3 + \N{FULLWIDTH DIGIT FIVE} = 8 : 8", None),
        ((3, 5), "3 + 5 = 8 : x", None),
        ((3, 5), "3 ** 5 = 243 : 243", None),
        ((3, 5), "3 // 5 = 0 : 0", None),
        ((3, 3), "3 - 3 = -0 : -0", None),
        ((3, 5), "3 / 5 = 3/0 : 3/0", None),
        ((3, 5), "", None),
        ((3, 5), "\n", None),
        ((3, 5), "9" * 100_000, None),
        ((3, 5), f"3 + 5 = {'9' * 100_000} : 8", None),
        ((3, 5), " ".join(["3"] * 100_000), None),
    ],
)
def test_final_value(numbers, solution, value):
    assert arithmetic.final_value(numbers, solution) == value
    if len(solution) < 1000:
        assert judge(numbers, solution) == value


@st.composite
def mutated_plays(draw):
    """Numbers, and a legal play of them after a few random edits."""
    numbers = draw(st.lists(st.integers(0, 13), min_size=2, max_size=4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    text = arithmetic.random_play(numbers, rng, max_value=60, max_denominator=9)
    for _ in range(draw(st.integers(0, 3))):
        if draw(st.booleans()):
            words = re.split("([ \n])", text)
            i, j = (draw(st.integers(0, len(words) - 1)) for _ in range(2))
            words[i], words[j] = words[j], words[i]
            text = "".join(words)
        else:
            start = draw(st.integers(0, len(text)))
            stop = min(len(text), start + draw(st.integers(0, 2)))
            text = text[:start] + draw(st.text("0123456789+-*/=: \n", max_size=2)) + text[stop:]
    return numbers, text


@settings(max_examples=1500, deadline=None)
@given(mutated_plays())
def test_verifier_agrees_with_a_second_one_on_mutated_plays(play):
    numbers, text = play
    assert arithmetic.final_value(numbers, text) == judge(numbers, text)


@settings(max_examples=300, deadline=None)
@given(st.text(), st.lists(st.integers(0, 99), min_size=1, max_size=4))
def test_no_text_is_an_error(text, numbers):
    assert arithmetic.final_value(numbers, text) is None
    arithmetic.proposal(numbers, text)


def exact_distribution(left, max_value, max_denominator):
    """Probability of each final value when every step is drawn evenly from the legal moves."""
    if len(left) == 1:
        return Counter({left[0]: 1.0})
    successors = []
    for i, j in itertools.permutations(range(len(left)), 2):
        rest = [x for k, x in enumerate(left) if k not in (i, j)]
        a, b = map(Fraction, (left[i], left[j]))
        for c in (a + b, a - b, a * b, a / b if b else None):
            if c is not None and c >= 0 and c.numerator <= max_value:
                if c.denominator <= max_denominator:
                    successors.append((*rest, c))
    total = Counter()
    for successor in successors:
        for value, p in exact_distribution(successor, max_value, max_denominator).items():
            total[value] += p / len(successors)
    return total


def assert_drawn_from(values, expected):
    counts, n = Counter(values), len(values)
    assert set(counts) <= set(expected)
    for value, p in expected.items():
        assert abs(counts[value] - n * p) < 5 * np.sqrt(n * p * (1 - p)) + 1e-9, value


@pytest.mark.parametrize("max_denominator", [1, 9])
def test_random_play_is_even_over_legal_moves(max_denominator):
    rng = np.random.default_rng(0)
    plays = [arithmetic.random_play((2, 6, 9), rng, 40, max_denominator) for _ in range(5000)]
    values = [judge((2, 6, 9), play) for play in plays]
    assert_drawn_from(values, exact_distribution((2, 6, 9), 40, max_denominator))


def test_vectorised_random_play_is_even_over_legal_moves():
    rng = np.random.default_rng(0)
    targets = random_targets(np.tile([2, 6, 9], (20_000, 1)), rng, max_value=40)
    assert_drawn_from(targets.tolist(), exact_distribution((2, 6, 9), 40, 1))


def test_random_play_keeps_its_bounds():
    rng = np.random.default_rng(0)
    for max_denominator in (1, 13):
        for _ in range(500):
            numbers = rng.integers(0, 14, size=rng.integers(2, 7)).tolist()
            play = arithmetic.random_play(numbers, rng, 50, max_denominator)
            assert judge(numbers, play) is not None
            for word in re.findall("[0-9/-]+", play):
                if word not in "-/":
                    assert 0 <= Fraction(word) and str(Fraction(word)) == word
                    assert Fraction(word).numerator <= 50
                    assert Fraction(word).denominator <= max_denominator


def test_random_play_of_numbers_beyond_the_bound_ends():
    rng = np.random.default_rng(0)
    for _ in range(50):
        assert judge((900, 7, 500), arithmetic.random_play((900, 7, 500), rng, 100)) is not None


def test_random_play_lists_untouched_numbers_in_order_then_the_result():
    rng = np.random.default_rng(0)
    for _ in range(100):
        a, _, b, _, c, _, *remain = (
            arithmetic.random_play((1, 20, 7, 3), rng, 99).split("\n")[0].split(" ")
        )
        untouched = [n for n in ("1", "20", "7", "3") if n not in (a, b)]
        assert remain == [*untouched, c]


def test_prompt():
    assert arithmetic.prompt(arithmetic.Goal((3, 5, 7), 15)) == "3 5 7 -> 15\n"


@pytest.mark.parametrize(
    ("numbers", "one", "other"),
    [
        ((3, 5, 7), RIGHT, "7 + 3 = 10 : 5 10\n5 + 10 = 15 : 15"),
        ((2, 3, 4), "2 * 3 = 6 : 4 6\n6 - 4 = 2 : 2", "3 * 2 = 6 : 4 6\n6 - 4 = 2 : 2"),
        (
            (1, 2, 3, 4),
            "1 - 2 = -1 : 3 4 -1\n3 * 4 = 12 : -1 12\n-1 + 12 = 11 : 11",
            "4 * 3 = 12 : 1 2 12\n1 - 2 = -1 : 12 -1\n12 + -1 = 11 : 11",
        ),
    ],
)
def test_equal_proposals(numbers, one, other):
    assert arithmetic.proposal(numbers, one) == arithmetic.proposal(numbers, other) is not None


def test_different_proposals():
    expressions = {
        arithmetic.proposal((2, 3, 4), text)
        for text in (
            "2 - 3 = -1 : 4 -1\n4 - -1 = 5 : 5",
            "3 - 2 = 1 : 4 1\n4 + 1 = 5 : 5",
            "3 - 2 = 1 : 4 1\n4 / 1 = 4 : 4",
            "2 * 3 = 6 : 4 6\n6 + 4 = 10 : 10",
            "2 + 3 = 5 : 4 5\n4 * 5 = 20 : 20",
        )
    }
    assert len(expressions) == 5 and None not in expressions


def test_a_proposal_does_not_tell_right_from_wrong():
    false_step = "3 + 5 = 9 : 7 9\n7 + 9 = 15 : 15"
    assert arithmetic.proposal((3, 5, 7), false_step) == arithmetic.proposal((3, 5, 7), RIGHT)


@pytest.mark.parametrize(
    "text", ["", "3 + 5", "3 + 5 = 8 : 7 8", "3 + 4 = 7 : 7 7\n7 + 7 = 14 : 14", "a b c d e f g"]
)
def test_what_cannot_be_followed_proposes_nothing(text):
    assert arithmetic.proposal((3, 5, 7), text) is None


def test_a_proposal_evaluates_to_what_the_solution_ends_with():
    rng = np.random.default_rng(0)
    for _ in range(300):
        numbers = rng.integers(1, 14, size=4).tolist()
        play = arithmetic.random_play(numbers, rng, 200, 13)
        expression = arithmetic.proposal(numbers, play)
        value = eval(re.sub("([0-9]+)", r"Fraction(\1)", expression))
        assert value == judge(numbers, play)
        assert sorted(map(int, re.findall("[0-9]+", expression))) == sorted(numbers)
