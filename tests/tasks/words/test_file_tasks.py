import gzip
import json

import numpy as np
import pytest

from expert_iter.errors import UserError
from expert_iter.tasks import load_task
from expert_iter.tasks.code.unit_tests import CodeTests
from expert_iter.tasks.task import SPLITS
from tests.tasks import made_up

RECORDS = [{"question": f"What is {i} plus {i}?", "answer": f"{2 * i}"} for i in range(100)]
TESTS = [{"question": f"What is {i} plus one?", "answer": f"{i + 1}"} for i in range(6)]


@pytest.fixture
def files(tmp_path):
    return {
        "train_file": str(made_up.lines(tmp_path / "a.jsonl", RECORDS)),
        "test_file": str(made_up.lines(tmp_path / "b.jsonl", TESTS)),
        "answer_type": "number",
    }


def test_validation_is_split_off_where_it_has_no_file(files, tmp_path):
    task = load_task("jsonl", files)
    parts = [{p.id for p in task.problems(split)} for split in ("train", "validation")]
    assert parts[0] | parts[1] == {f"train-{i}" for i in range(100)} and not parts[0] & parts[1]
    assert 1 <= len(parts[1]) <= 15
    assert [p.id for p in task.problems("test")] == [f"test-{i}" for i in range(6)]
    own = {**files, "validation_file": files["test_file"]}
    task = load_task("jsonl", own)
    assert len(task.problems("train")) == 100
    assert [p.id for p in task.problems("validation")] == [f"validation-{i}" for i in range(6)]


def test_a_file_may_be_absent_until_it_is_asked_for(files):
    task = load_task("jsonl", {"test_file": files["test_file"], "answer_type": "number"})
    assert len(task.problems("test")) == 6 and task.splits == ["test"]
    for split in ("train", "validation"):
        with pytest.raises(UserError, match="name a JSONL or CSV file in task.train_file"):
            task.problems(split)
    with pytest.raises(UserError, match="task.test_file"):
        load_task("math", {"train_file": files["train_file"]}).problems("test")
    with pytest.raises(UserError, match="none.jsonl: cannot be read"):
        load_task("jsonl", {"train_file": "none.jsonl"}).problems("train")


def test_files_may_be_named_from_the_users_directory(files, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    short = {key: name.replace(str(tmp_path), "~") for key, name in files.items()}
    assert short["train_file"] == "~/a.jsonl"
    task = load_task("jsonl", short)
    assert len(task.problems("test")) == len(task.read("~/b.jsonl")) == len(TESTS)
    made_up.gsm8k(tmp_path)
    published = load_task("gsm8k", {"data_dir": "~", "verify_files": False})
    assert len(published.problems("test")) == 8


def test_the_example_of_a_task_is_what_may_be_typed(files):
    task = load_task("jsonl", files)
    assert task.example() == "What is 0 plus one?"
    assert task.parse(task.example()).prompt == task.problems("test")[0].prompt
    game = load_task("countdown", {"train_size": 1, "validation_size": 1, "test_size": 1})
    assert game.parse(game.example()).prompt == game.problems("test")[0].prompt


def test_a_dataset_gives_the_same_problems_and_follows_the_files(files, tmp_path):
    stored = {**files, "tfds_dir": str(tmp_path / "tfds")}
    for _ in range(2):
        for split in SPLITS:
            expected = load_task("jsonl", files).problems(split)
            assert load_task("jsonl", stored).problems(split) == expected
        made_up.lines(tmp_path / "a.jsonl", RECORDS[5:])
    assert len(list((tmp_path / "tfds").iterdir())) == 2
    # A file in another part is another dataset.
    for change in ({"validation_file": files["train_file"]}, {"test_file": files["train_file"]}):
        for split in SPLITS:
            expected = load_task("jsonl", files | change).problems(split)
            assert load_task("jsonl", stored | change).problems(split) == expected
    # What is there can be stored, whatever is not.
    del stored["train_file"]
    assert len(load_task("jsonl", stored).problems("test")) == 6
    with pytest.raises(UserError, match="task.train_file"):
        load_task("jsonl", stored).problems("train")


def test_csv_and_other_names_of_fields(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text('Q,A,why\n"Red, or blue?",Blue,The sky.\nUp?,no,\n')
    settings = {"question_field": "Q", "answer_field": "A", "solution_field": "why"}
    task = load_task("jsonl", {"test_file": str(path), **settings})
    problems = task.problems("test")
    assert problems[0].prompt == "Question: Red, or blue?\nAnswer:\n"
    assert [p.answer.solution for p in problems] == ["The sky.\n#### Blue", "#### no"]
    assert task.verdict(problems[0], "#### Blue") and not task.verdict(problems[0], "#### blue")


def test_a_csv_file_holds_solutions_of_several_steps(tmp_path):
    path = tmp_path / "mine.csv"
    long = "x" * 140_000
    path.write_bytes(
        '\ufeffquestion,answer,solution\r\n"How\u2028many?",7,"3 + 4 = 7\r\nso ""7""\r\n"\r\n'
        f'Next?,8,{long}\r\n"Last,\n\nof all?",9,\r\n'.encode()
    )
    problems = load_task("jsonl", {"test_file": str(path), "answer_type": "number"}).problems(
        "test"
    )
    assert [p.answer.solution for p in problems] == [
        '3 + 4 = 7\nso "7"\n#### 7',
        f"{long}\n#### 8",
        "#### 9",
    ]
    assert [p.place for p in problems] == [f"{path}, line {line}" for line in (2, 5, 6)]
    assert "How\u2028many?" in problems[0].prompt and "Last,\n\nof all?" in problems[2].prompt


@pytest.mark.parametrize(
    "written", ["12345678901234567890.5", "0.00001", "1234567890123456789", "2.50"]
)
def test_a_number_of_a_file_is_the_answer_that_is_written_there(written, tmp_path):
    """Of all kinds of files; a float would make it 12345678901234567168.0 or 1e-05."""
    record = f'{{"question": "How many?", "answer": {written}}}'
    path = tmp_path / "a.jsonl"
    for name, text in (("a.jsonl", record), ("a.json", f"[{record}]")):
        path = tmp_path / name
        path.write_text(text)
        for kind in ("number", "exact"):
            task = load_task("jsonl", {"answer_type": kind})
            (problem,) = task.read(path)
            assert problem.answer.answer == written
            assert task.verdict(problem, f"#### {written}")
            assert not task.verdict(problem, f"#### {written[:-1]}7")
    compressed = tmp_path / "a.jsonl.gz"
    compressed.write_bytes(gzip.compress(record.encode()))
    assert task.read(compressed)[0].answer == problem.answer


@pytest.mark.parametrize(
    ("kind", "answer", "right", "wrong"),
    [
        ("exact", "New  York", "It is\n#### New York", "#### York"),
        ("number", 1234.5, "#### $1,234.50", "#### 1234"),
        ("choice", "b", "The answer is (B)", "#### C"),
        ("math", r"\frac{1}{2}", r"so \boxed{0.5}", r"\boxed{\frac{1}{3}}"),
    ],
)
def test_answer_types(kind, answer, right, wrong):
    task = load_task("jsonl", {"answer_type": kind})
    problem = task.problem_of({"question": "Which?", "answer": answer}, "x")
    assert task.verdict(problem, right) and not task.verdict(problem, wrong)
    assert task.verdict(problem, task.demonstration(problem, np.random.default_rng(0)))
    assert task.answer(problem.prompt, right) is not None and task.is_legal(problem, right)


STATEMENTS = ["assert f(1) == 2", "assert f(2) == 3"]


@pytest.mark.parametrize(
    ("answer", "tests"),
    [
        (STATEMENTS, CodeTests("", tuple(STATEMENTS))),
        (json.dumps(STATEMENTS), CodeTests("", tuple(STATEMENTS))),
        ("\n".join(STATEMENTS), CodeTests("", ("\n".join(STATEMENTS),))),
        (
            {"tests": STATEMENTS[:1], "setup": "import math"},
            CodeTests("import math", (STATEMENTS[0],)),
        ),
        (
            {"checker": "def check(c): assert c(1)", "entry_point": "f", "prefix": "def f(x):\n"},
            CodeTests("", (), "f", "def f(x):\n", "def check(c): assert c(1)"),
        ),
    ],
)
def test_tests_of_code(answer, tests, tmp_path):
    settings = {"answer_type": "code", "solution_field": "code"}
    record = {"question": "Write f.", "answer": answer, "code": "def f(x):\r\n    return x + 1\n"}
    problem = load_task("jsonl", settings).problem_of(record, "x")
    assert problem.answer.answer == tests
    assert problem.answer.solution == "def f(x):\n    return x + 1"
    # Through a dataset, too.
    settings |= {"test_file": str(made_up.lines(tmp_path / "a.jsonl", [record]))}
    stored = load_task("jsonl", {**settings, "tfds_dir": str(tmp_path / "tfds")})
    assert stored.problems("test") == load_task("jsonl", settings).problems("test")


@pytest.mark.parametrize(
    ("kind", "record", "message"),
    [
        ("number", {"question": "A?"}, "there is no `answer`"),
        ("number", {"answer": "2"}, "no text in `question`"),
        ("number", {"question": " ", "answer": "2"}, "no text in `question`"),
        ("number", {"question": "A?", "answer": "two"}, "the answer 'two'"),
        ("number", {"question": "A?", "answer": [2]}, "neither text nor a number"),
        ("exact", {"question": "A?", "answer": True}, "there is no `answer`"),
        ("exact", {"question": "A?", "answer": float("nan")}, "NaN is not a number"),
        ("number", {"question": "A?", "answer": "1", "note": [float("-inf")]}, "-Infinity is not"),
        ("number", {"question": "A?", "answer": 10**4000}, "the answer '1000"),
        ("number", {"question": 5, "answer": "1"}, "no text in `question`"),
        ("exact", {"question": "A?", "answer": "\ud800"}, "not UTF-8 text"),
        ("choice", {"question": "A?", "answer": "F"}, "the answer 'F'"),
        ("exact", {"question": "A?", "answer": "x", "solution": 5}, "no text in `solution`"),
        ("code", {"question": "A?", "answer": []}, "there are no tests"),
        ("code", {"question": "A?", "answer": [3]}, "tests must be text"),
        ("code", {"question": "A?", "answer": 3}, "tests are a list"),
        ("code", {"question": "A?", "answer": {"test": ["x"]}}, "tests are a list"),
    ],
)
def test_a_damaged_row(kind, record, message, tmp_path):
    good = {"question": "A?", "answer": {"code": ["assert 1"], "choice": "A"}.get(kind, "1")}
    path = made_up.lines(tmp_path / "a.jsonl", [good, record])
    with pytest.raises(UserError, match=f"a.jsonl, line 2: .*{message}") as error:
        load_task("jsonl", {"test_file": str(path), "answer_type": kind}).problems("test")
    assert "\n" not in str(error.value)


def test_mathematics():
    task = load_task("math")
    made = lambda **record: task.problem_of({"problem": "What?", **record}, "x").answer  # noqa: E731
    boxed = r"Half of it, so $\boxed{\frac{1}{2}}$."
    assert made(solution=boxed).answer == r"\frac{1}{2}" and made(solution=boxed).solution == boxed
    assert made(solution=boxed, answer="0.5").answer == "0.5"
    assert made(solution="Half of it.", answer="0.5").solution == "Half of it.\n\\boxed{0.5}"
    assert made(answer=3).solution == r"\boxed{3}"
    for record in ({}, {"solution": "One half."}, {"solution": r"\boxed{"}, {"answer": ""}):
        with pytest.raises(ValueError):
            made(**record)
    problem = task.problem_of({"problem": "What?", "solution": boxed}, "x")
    assert task.verdict(problem, "#### 0.5") and not task.verdict(problem, r"\boxed{2}")


def test_few_shot_examples_need_solutions(tmp_path):
    records = [{"question": f"Q{i}?", "answer": ["assert f()"]} for i in range(40)]
    for record in records[:3]:
        record["solution"] = "def f(): return 1"
    settings = {
        "train_file": str(made_up.lines(tmp_path / "a.jsonl", records)),
        "answer_type": "code",
        "prompt": "few_shot",
    }
    with pytest.raises(UserError, match="task.shots=4, but there are only [1-3] problems"):
        load_task("jsonl", settings).problems("train")
    (prompt,) = {
        p.prompt for p in load_task("jsonl", {**settings, "shots": 1}).problems("train")[5:6]
    }
    assert prompt.count("Task: ") == 2


@pytest.mark.parametrize("settings", [{"answer_type": "word"}, {"question_field": ""}])
def test_impossible_settings(settings):
    with pytest.raises(UserError, match=f"task.{next(iter(settings))}"):
        load_task("jsonl", settings)
