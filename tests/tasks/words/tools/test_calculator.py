"""The calculator's results by hand, by Python's parser, and by GSM8K's published annotations."""

import ast
import os
import random
import re
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from expert_iter.errors import UserError
from expert_iter.tasks import load_task
from expert_iter.tasks.words.tools.calculator import Calculator, annotated, calculated
from expert_iter.tasks.world import GOES_ON, ILLEGAL, Observation
from tests.tasks import made_up

LINE = "Natalia sold 48/2 = "


@pytest.mark.parametrize(
    "expression, result",
    [
        ("48/2", "24"),
        (" 3 + 4 * 2 ", "11"),
        ("(3+4)*2", "14"),
        ("10-3-2", "5"),
        ("24/4/2", "3"),
        ("7//2", "3"),
        ("-3+.5", "-2.5"),
        ("2*-3", "-6"),
        ("--3", "3"),
        ("0-0", "0"),
        ("0.1+0.2", "0.3"),
        ("1.50*2", "3"),
        ("5.*2", "10"),
        ("1/8", "0.125"),
        ("-1/1024", "-0.0009765625"),
        ("1/3*3", "1"),
        ("10/3", "10/3"),
        ("1/2048", "1/2048"),  # it has eleven decimals
        ("1,000*3", "3000"),
        ("365*8000000", "2920000000"),
        ("999999999999999-0", "999999999999999"),
    ],
)
def test_results_by_hand(expression, result):
    assert calculated(expression) == result


@pytest.mark.parametrize(
    "expression",
    "|1/0|1/(2-2)|3+|*3|(3|3)|()|2 3|2**3|1,00*3|1e5|x+1|5%|7%2|$3*2|3..5|²|٣|1_000"
    "|999999999999999+1|1/999999999999999/9|__import__('os')|"
    f"{'9' * 100}-{'9' * 100}|{'(' * 99}1{')' * 99}1|{'-' * 500}1".split("|"),
)
def test_what_has_no_result_is_an_error(expression):
    assert calculated(expression) == "error"


def exact(node):
    """An expression's value by Python's parser."""
    if isinstance(node, ast.BinOp):
        left, right = exact(node.left), exact(node.right)
        if isinstance(node.op, ast.Add):
            return left + right
        if isinstance(node.op, ast.Sub):
            return left - right
        return left * right if isinstance(node.op, ast.Mult) else left / right
    if isinstance(node, ast.UnaryOp):
        return -exact(node.operand)
    return Fraction(str(node.value))


def test_random_expressions_come_to_what_python_reads_in_them():
    rng = random.Random(0)

    def expression(depth):
        if not depth or rng.random() < 0.2:
            return rng.choice(["7", "12", "0.5", "3.25", "100", "0", "-4"])
        left, right = expression(depth - 1), expression(depth - 1)
        text = f"{left}{rng.choice('+-*/')}{right}"
        return f"({text})" if rng.random() < 0.4 else text

    errors = 0
    for _ in range(2000):
        text = expression(3)
        found = calculated(text)
        try:
            value = exact(ast.parse(text, mode="eval").body)
        except ZeroDivisionError:
            assert found == "error"
            errors += 1
            continue
        assert Fraction(found) == value, text
        if "/" not in found:  # as short as it can be written
            assert found == format(Decimal(found).normalize() + 0, "f").replace("-0", "-0")
    assert 20 < errors < 1000


@pytest.mark.parametrize(
    "text, answer",
    [
        (LINE + "<<48/2=", "24>>"),
        ("First.\n" + LINE + "<<48/2=", "24>>"),
        (LINE + "<<48/2= ", "24>>"),
        (LINE + "<<48/2=2", "4>>"),  # a token may go on behind the mark
        (LINE + "<<48/2=24>", ">"),
        (LINE + "<<48/2=24>>", ""),
        (LINE + "<<48/2=24>>24 and 24-4 = <<24-4=", "20>>"),
        (LINE + "<<5/0=", "error>>"),
        (LINE + "<<5/0=error>>?", ""),
        (LINE + "<<=", "error>>"),
        (LINE, ""),
        (LINE + "<<48/2", ""),
        ("<<48/2\n=", ""),
        ("48/2>> =", ""),
        ("", ""),
    ],
)
def test_an_open_expression_is_answered_and_nothing_else(text, answer):
    assert Calculator().observe("?", text) == Observation(answer, GOES_ON)


@pytest.mark.parametrize(
    "text", ["<<48/2=3", "<<48/2=25>>", "<<48/2=24>>24 or <<5/0=1>>", "<<48/2=24\u2007"]
)
def test_a_result_of_the_networks_own_is_illegal(text):
    assert Calculator().observe("?", LINE + text).status == ILLEGAL


@pytest.mark.parametrize(
    "solution, kept",
    [
        ("a <<48/2=24>>24", "a <<48/2=24>>24"),
        ("a <<4*4=16.00>>16.00", "a <<4*4=16>>16.00"),
        ("a <<1/2=.5>>.5 b <<3/4=3/4>>", "a <<1/2=0.5>>.5 b <<3/4=0.75>>"),
        ("a <<10/3=3.33>>3.33", "a <<10/3=10/3>>3.33"),
        ("a <<20/3=6.67>>6.67 b <<20/3=6.66>>", "a <<20/3=20/3>>6.67 b <<20/3=20/3>>"),
        ("a <<7/2=3>>3", "a <<7/2=3.5>>3"),
        # Another number, no number, no calculation.
        ("a <<48/2=25>>25", "a 25"),
        ("a <<1/3=1/4>>b", "a b"),
        ("a <<5/0=0>>0 <<x=4>>4 <<4>>4 <<2*3=6=6>>6", "a 0 4 4 6"),
        ("a << 3 = 4 >> 5", "a  5"),
        ("1 << 3 = 8", "1  3 = 8"),
        ("no calculation >> at all", "no calculation >> at all"),
    ],
)
def test_demonstrations_have_the_calculators_results(solution, kept):
    assert annotated(solution, lambda text: True) == kept
    assert annotated(kept, lambda text: True) == kept


def test_annotations_that_make_a_solution_wrong_are_left_out():
    assert annotated("<<1+1=2>>2\n#### 2", lambda text: "<<" not in text) == "2\n#### 2"


def consistent(text):
    """Whether a calculator would have written all results of a text."""
    asked = [match.end() for match in re.finditer(r"<<[^<>=]*=", text)]
    for end in asked:
        answer = Calculator().observe("?", text[:end])
        assert answer.text and text[end:].startswith(answer.text)
    return len(asked) == text.count("<<")


def test_tasks_show_the_calculator_at_work(tmp_path):
    made_up.gsm8k(tmp_path)
    made_up.svamp(tmp_path)
    made_up.mawps(tmp_path)
    files = {"data_dir": str(tmp_path), "verify_files": False}
    for name, settings, asked in (
        ("gsm8k", files, "7+1000=<<7+1000=1007>>1007 of them.\n#### 1,007"),
        ("svamp", files, "5 - 1 = <<5-1=4>>4\n#### 4"),
        ("mawps", files, None),
        ("stories", {"train_size": 50, "validation_size": 5, "test_size": 5}, None),
    ):
        task = load_task(name, settings | {"tools": "calculator"})
        plain = load_task(name, settings)
        solutions = {}
        for split in task.splits or ("train",):
            for problem, same in zip(task.problems(split), plain.problems(split), strict=True):
                solution = solutions[problem.id] = problem.answer.solution
                assert task.verdict(problem, solution) and consistent(solution)
                assert problem.prompt == same.prompt
                assert re.sub("<<.*?>>", "", solution) == same.answer.solution
        assert asked is None or asked in solutions.values()
        assert any("<<" in solution for solution in solutions.values()) == (name != "mawps")
        assert plain.world is None and task.world.observe("?", "<<1+1=").text == "2>>"


def test_few_shot_examples_and_stored_rows_have_annotations_too(tmp_path):
    made_up.svamp(tmp_path)
    settings = {"data_dir": str(tmp_path), "verify_files": False, "tfds_dir": str(tmp_path / "t")}
    for tools in ("calculator", "none", "calculator"):
        task = load_task("svamp", settings | {"tools": tools, "prompt": "few_shot", "shots": 2})
        prompt = task.problems("test")[0].prompt
        assert prompt.count("<<") == (2 if tools == "calculator" else 0)


def test_a_file_of_ones_own_keeps_what_the_calculator_says(tmp_path):
    rows = [
        {"question": "1 + 1?", "answer": "2", "solution": "It is <<1+1=2.0>>2."},
        {"question": "2 + 2?", "answer": "4", "solution": "It is <<2+2=5>>4."},
        {"question": "7?", "answer": "7"},
    ]
    files = {"train_file": str(made_up.lines(tmp_path / "a.jsonl", rows))}
    settings = {"answer_type": "number", "tools": "calculator", "validation_file": "x"}
    task = load_task("jsonl", files | settings)
    assert [problem.answer.solution for problem in task.problems("train")] == [
        "It is <<1+1=2>>2.\n#### 2",
        "It is 4.\n#### 4",
        "#### 7",
    ]


def test_a_chat_is_told_of_the_calculator(tmp_path):
    template = tmp_path / "chat_template.jinja"
    template.write_text("{{ messages[0].content }}")
    for tools in ("none", "calculator"):
        settings = {"prompt": "chat", "chat_template": str(template), "tools": tools}
        prompt = load_task("gsm8k", settings).parse("How many?").prompt
        assert ("calculator" in prompt) == (tools == "calculator")


def test_tools_that_are_not_there():
    with pytest.raises(UserError, match="^task.tools .*calculator"):
        load_task("gsm8k", {"tools": "abacus"})
    for name, settings in (("mbpp", {}), ("humaneval", {}), ("jsonl", {"answer_type": "code"})):
        with pytest.raises(UserError, match="^task.tools=calculator is not for programs"):
            load_task(name, settings | {"tools": "calculator"})


def test_gsm8ks_annotations_are_what_the_calculator_says():
    """All agree as numbers. As texts all do but .5, 16.00 and 3/4, which are some in a hundred."""
    folder = Path(os.environ.get("EXPERT_ITER_DATA", "/nowhere"), "gsm8k")
    if not folder.is_dir():
        pytest.skip("EXPERT_ITER_DATA names no folder with gsm8k/")
    task = load_task("gsm8k", {"data_dir": str(folder), "tools": "calculator"})
    number = alike = 0
    for split in ("train", "validation", "test"):
        for row, problem in zip(task.rows(split), task.problems(split), strict=True):
            assert consistent(problem.answer.solution)
            published = re.findall("<<(.*?)=(.*?)>>", row.solution)
            kept = re.findall("<<(.*?)=(.*?)>>", problem.answer.solution)
            assert [asked for asked, _ in published] == [asked for asked, _ in kept]
            for (_, theirs), (_, ours) in zip(published, kept, strict=True):
                assert Fraction(theirs) == Fraction(ours)
                number, alike = number + 1, alike + (theirs == ours)
    assert number > 25_000 and alike / number > 0.97
    print(f"{number} annotations, {alike / number:.2%} word for word")
