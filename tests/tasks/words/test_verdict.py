import dataclasses
import json
import warnings

import pytest

from expert_iter.errors import UserError
from expert_iter.tasks.code.sandbox.containment import pick_containment
from expert_iter.tasks.code.unit_tests import CodeTests
from expert_iter.tasks.words import rows, verdict
from expert_iter.tasks.words.rows import CODE, number_text, with_answer_line

TESTS = CodeTests("", ("assert f(2) == 3",))


@pytest.fixture
def sandbox():
    try:
        pick_containment()
    except UserError as error:
        pytest.skip(str(error))


def test_code_is_judged_by_its_tests(sandbox):
    good = "def f(x):\n    return x + 1"
    assert verdict.is_right(TESTS, good, CODE)
    assert verdict.is_right(TESTS, f"Here it is:\n```python\n{good}\n```\nDone.", CODE)
    for wrong in ("def f(x):\n    return x", "def f(x", "", "```python\n```"):
        assert not verdict.is_right(TESTS, wrong, CODE)


def test_a_completion_is_judged_below_its_head(sandbox):
    tests = CodeTests(
        "", (), "f", "def f(x):\n", "def check(candidate):\n    assert candidate(2) == 3\n"
    )
    assert verdict.is_right(tests, "    return x + 1", CODE)
    assert verdict.is_right(tests, "    return g(x)\n\ndef g(x):\n    return x + 1", CODE)
    assert verdict.is_right(tests, '    """f"""\n    return x + 1', CODE)
    assert not verdict.is_right(tests, "    return x", CODE)
    assert verdict.is_readable(tests, "    return x", CODE)
    assert not verdict.is_readable(tests, "return x", CODE)


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        ("def f(x):\n    return x+1", "def f( x ):  # adds\n\n  return (x + 1)\n", True),
        ("def f(x):\n    return x+1", "def f(x):\n    return x+2", False),
        ("    return x+1", "    return (x + 1)  # so", True),
        ("    return x\ndef g(): pass", "    return x\n\n\ndef g():\n    pass", True),
    ],
)
def test_programs_that_differ_in_layout_alone_are_one_vote(a, b, equal):
    votes = [verdict.proposal(code, CODE) for code in (a, b, f"```python\n{b}\n```")]
    assert None not in votes
    assert (votes[0] == votes[1] == votes[2]) == equal


@pytest.mark.parametrize(
    "code",
    ["def f(x", "", "x = '\0'", "(" * 10_000, "-" * 100_000 + "1", "1" + "+1" * 100_000, "\ud800"],
)
def test_what_does_not_parse_proposes_nothing(code):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert verdict.proposal(code, CODE) is None
        assert not verdict.is_readable(TESTS, code, CODE)
        assert verdict.proposal('x = "\\d"', CODE) is not None


def test_words_are_judged_by_the_answer():
    assert verdict.is_right("18", "2 * 9 = 18\n#### 18", "number")
    assert not verdict.is_right("18", "#### 19", "number")
    assert verdict.proposal("#### 18.0", "number") == verdict.proposal("A: 18", "number")
    assert verdict.is_readable("18", "#### 19", "number")
    assert not verdict.is_readable("18", "I do not know", "number")


def test_numbers_as_text():
    for value, text in ((43.0, "43"), (39, "39"), (9.43, "9.43"), ("7.0", "7"), (-2.0, "-2")):
        assert number_text({"n": value}, "n") == text
    for value in (None, True, "", "x", [1], float("nan"), float("inf"), 10**400, "9" * 5000):
        with pytest.raises(ValueError, match="no number in `n`|not one plain number"):
            number_text({"n": value}, "n")


def test_answer_lines():
    assert with_answer_line("One.\n", "3", "number") == "One.\n#### 3"
    assert with_answer_line("", "3", "choice") == "#### 3"
    assert with_answer_line("So #### 3", "3", "number") == "So #### 3"
    assert with_answer_line("One.", "x", "math") == "One.\n\\boxed{x}"


def test_tests_survive_as_text():

    tests = CodeTests("import re", ("assert a\nassert b", "assert c"), "f", "def f():\n", "d")
    assert rows.tests_of(json.dumps(dataclasses.asdict(tests))) == tests
