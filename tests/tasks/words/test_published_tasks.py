import json
import re
from pathlib import Path

import numpy as np
import pytest

from expert_iter.errors import UserError
from expert_iter.tasks import Problem, load_task, task_settings
from expert_iter.tasks.code.unit_tests import CodeTests
from expert_iter.tasks.words import published_files
from expert_iter.tasks.words.questions import normalised, opening
from expert_iter.tasks.words.rows import Gold
from tests.tasks import made_up

NAMES = list(made_up.WRITERS)


def task_of(name, folder, **settings):
    return load_task(name, {"data_dir": str(folder), "verify_files": False, **settings})


@pytest.fixture(params=NAMES)
def task(request, tmp_path):
    return task_of(request.param, made_up.WRITERS[request.param](tmp_path))


def all_problems(task):
    return {split: task.problems(split) for split in task.splits}


def test_demonstrations_are_right_and_the_network_sees_no_answer(task):
    rng = np.random.default_rng(0)
    for problems in all_problems(task).values():
        for problem in problems[:10]:
            solution = task.demonstration(problem, rng)
            assert isinstance(problem.answer, Gold) and task.is_legal(problem, solution)
            assert set(vars(problem.question)) == {"id", "prompt", "begun"}
            if task.kind == "number":
                assert task.verdict(problem, solution)
                assert not task.verdict(problem, solution + "5")
                assert task.answer(problem.prompt, solution) is not None
                assert f"#### {problem.answer.answer}" not in problem.prompt


def test_a_verdict_needs_no_search_and_no_process_of_ours(task):
    assert not task.in_process and task.symbols() == []
    assert load_task("countdown").in_process


def test_the_same_problems_each_time_and_ids_are_distinct(task, tmp_path):
    again = task_of(task.name, tmp_path)
    for split, problems in all_problems(task).items():
        assert problems == again.problems(split)
    ids = [problem.id for problems in all_problems(task).values() for problem in problems]
    assert len(ids) == len(set(ids))


def test_no_question_is_in_two_splits(task):
    seen = {}
    for split in task.splits:
        for row in task.rows(split):
            assert seen.setdefault(normalised(row.question), split) == split


def test_limits_take_the_first(task, tmp_path):
    for split, problems in all_problems(task).items():
        limited = task_of(task.name, tmp_path, **{f"{split}_size": 2})
        assert limited.problems(split) == problems[:2]


def test_sample_texts_are_training_prompts_with_solutions(task):
    if task.name == "humaneval":
        return
    texts = {p.prompt + p.answer.solution for p in task.problems("train")}
    assert set(task.sample_texts(9, 3)) <= texts and len(task.sample_texts(9, 3)) == 9
    assert task.sample_texts(9, 3) == task.sample_texts(9, 3) != task.sample_texts(9, 4)


def test_a_dataset_gives_the_same_problems(task, tmp_path):
    stored = {"tfds_dir": str(tmp_path / "tfds")}
    built, read = (task_of(task.name, tmp_path, **stored) for _ in range(2))
    assert list(task.splits)
    for split in task.splits:
        assert task.problems(split) == built.problems(split) == read.problems(split)
    # It does not depend on how the questions are put.
    if task.name != "humaneval":
        few_shot = task_of(task.name, tmp_path, **stored, prompt="few_shot", shots=2)
        assert few_shot.problems("test")[0].answer == task.problems("test")[0].answer
    assert len(list((tmp_path / "tfds").iterdir())) == 1


def test_a_missing_file_is_one_line_with_its_name_and_source(task, tmp_path):
    for split in task.splits:
        (name,) = {path.name for path in task.files(split)[:1]}
        for folder, start in ((tmp_path / "none", "task.data_dir="), ("", "task.data_dir is not")):
            with pytest.raises(UserError, match=re.escape(start)) as error:
                task_of(task.name, folder).problems(split)
            assert name in str(error.value) and "/" in str(error.value)
            assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="train, validation, test"):
        task.problems("dev")


def test_files_that_are_not_the_published_ones(task):
    verified = load_task(task.name, {"data_dir": task.config.data_dir})
    for split in task.splits:
        with pytest.raises(UserError, match="rows where the published file has .*verify_files"):
            verified.problems(split)


def test_the_checksum(tmp_path):
    made_up.gsm8k(tmp_path)
    file = published_files.GSM8K_TRAIN._replace(rows=120)
    task = load_task("gsm8k", {"data_dir": str(tmp_path)})
    with pytest.raises(UserError, match="SHA-256.*verify_files=false"):
        task.read_file(file)
    ids = [f"train-{i}" for i in range(120)]
    assert [row.id for row in task_of("gsm8k", tmp_path).read_file(file)] == ids
    # Where no checksum is known the rows are counted.
    file = file._replace(sha256="")
    assert [row.id for row in task.read_file(file)] == ids


def test_a_problem_knows_its_file_and_line_where_it_was_read_from_one(task, tmp_path):
    stored = task_of(task.name, tmp_path, tfds_dir=str(tmp_path / "tfds"))
    for split, problems in all_problems(task).items():
        for problem in problems[:20]:
            path, _, line = problem.place.rpartition(", line ")
            assert Path(path) in task.files(split) and problem.name == problem.place
            if path.endswith(".jsonl"):
                text = Path(path).read_text().split("\n")[int(line) - 1]
                row = next(row for row in task.rows(split) if row.id == problem.id)
                assert row.question in " ".join(json.dumps(json.loads(text)).split())
        assert [p.name for p in stored.problems(split)] == [f"problem {p.id}" for p in problems]


DAMAGE = {
    "gsm8k": ("train.jsonl", 3, '{"question": "How many?", "answer": "Two.\\n#### two"}'),
    "svamp": ("SVAMP.json", 12, '        "Question": 5,'),
    "mawps": ("singleeq.jsonl", 3, '{"input": "How many?", "target": "many"}'),
    "mbpp": ("mbpp.jsonl", 3, '{"text": "Add.", "code": "x", "task_id": 3, "test_list": []}'),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_row_is_named_by_file_and_line(name, tmp_path):
    made_up.WRITERS[name](tmp_path)
    file, line, damaged = DAMAGE[name]
    path = tmp_path / file
    good = path.read_text().split("\n")
    for text in (damaged, "{oops"):
        path.write_text("\n".join([*good[: line - 1], text, *good[line:]]))
        task = task_of(name, tmp_path)
        # A row of a JSON list is named by the line it begins in.
        begins = 10 if name == "svamp" and text == damaged else line
        with pytest.raises(UserError, match=f"{file}, line {begins}: ") as error:
            task.problems("train")
        assert "\n" not in str(error.value)


def test_a_damaged_archive(tmp_path):
    path = made_up.humaneval(tmp_path) / "HumanEval.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match="HumanEval.jsonl.gz: cannot be read"):
        task_of("humaneval", tmp_path).problems("test")


def test_gsm8k(tmp_path):
    task = task_of("gsm8k", made_up.gsm8k(tmp_path))
    train, validation = task.problems("train"), task.problems("validation")
    ids = sorted(int(p.id.removeprefix("train-")) for p in (*train, *validation))
    assert ids == list(range(120)) and 1 <= len(validation) <= 15
    problem = next(p for p in train if p.id == "train-7")
    assert problem.prompt == "Question: Hal buys 7 nets and 1000 more. How many?\nAnswer:\n"
    assert problem.answer == Gold("1,007", "7+1000=1007 of them.\n#### 1,007")
    assert task.verdict(problem, "So it is\n#### 1007") and not task.verdict(problem, "#### 107")
    assert [p.id for p in task.problems("test")] == [f"test-{i}" for i in range(8)]
    kept = task_of("gsm8k", tmp_path, annotations="keep").problems("train")
    assert "<<7+1000=1007>>" in next(p for p in kept if p.id == "train-7").answer.solution


def test_gsm8k_reads_the_part_of_the_test_where_the_whole_is_not_there(tmp_path):
    made_up.gsm8k(tmp_path, test=5, part=True)
    assert [p.id for p in task_of("gsm8k", tmp_path).problems("test")][-1] == "test-4"
    made_up.gsm8k(tmp_path, test=7)
    assert len(task_of("gsm8k", tmp_path).problems("test")) == 7


def test_gsm8k_model_solutions_end_in_a_line_of_their_own():
    task = load_task("gsm8k")
    problem = task.problem_of({"question": "How many?", "answer": "2*3=<<2*3=6>>6\nA: 6"}, "x")
    assert problem.answer == Gold("6", "2*3=6\n#### 6")


def test_svamp(tmp_path):
    task = task_of("svamp", made_up.svamp(tmp_path))
    rows = {row.id: row for split in task.splits for row in task.rows(split)}
    assert set(rows) == {f"SVAMP-{i}" for i in range(120)}
    assert rows["SVAMP-8"].question == "Eli has 4 pears and loses 1. How many are left?"
    assert rows["SVAMP-9"].question == "Eli has 5 pears and loses 1. How many are left?"
    assert rows["SVAMP-9"].solution == "5 - 1 = 4\n#### 4"
    # Variations of a story are in one split.
    splits = {}
    for split in task.splits:
        for row in task.rows(split):
            assert splits.setdefault(opening(row.question), split) == split
    assert len(splits) == 60 and set(splits.values()) == {"train", "validation", "test"}


@pytest.mark.parametrize(
    ("equation", "answer", "solution"),
    [
        ("( ( 4.0 - 2.0 ) + 3.0 )", 5.0, "(4 - 2) + 3 = 5\n#### 5"),
        ("( ( 4.0 - 2.0 ) + 3.0 )", 1.0, "#### 1"),  # it does not give the answer
        ("( 1.0 + 2.0 ) * ( 3.0 - 1.0 )", 6, "(1 + 2) * (3 - 1) = 6\n#### 6"),
        ("( 1.0 / 4.0 )", 0.25, "1 / 4 = 0.25\n#### 0.25"),
        ("( 1.0 / 0.0 )", 2.0, "#### 2"),
        ("( 1e999999999 - 1.0 )", 2.0, "#### 2"),
        (f"( {'9' * 5000} - 1.0 )", 2.0, "#### 2"),
        # A float has no room for either.
        (
            "( 12345678901234567890.5 - 0.25 )",
            "12345678901234567890.25",
            "12345678901234567890.5 - 0.25 = 12345678901234567890.25\n#### 12345678901234567890.25",
        ),
        (
            "( 12345678901234567890.5 - 0.25 )",
            "12345678901234567890.5",
            "#### 12345678901234567890.5",
        ),
        ("__import__('os')", 2.0, "#### 2"),
        (None, 2.0, "#### 2"),
    ],
)
def test_svamp_equations(equation, answer, solution):
    record = {"Body": "A", "Question": "B?", "Equation": equation, "Answer": answer}
    assert load_task("svamp").problem_of(record, "x").answer.solution == solution


def test_mawps_keeps_the_first_of_the_same_question(tmp_path):
    task = task_of("mawps", made_up.mawps(tmp_path))
    rows = {row.id: row for split in task.splits for row in task.rows(split)}
    assert len(rows) == 4 * 40 - 3 * 5
    assert {f"addsub-{i}" for i in range(40)} <= set(rows)
    assert "singleop-4" not in rows and "singleop-5" in rows
    assert rows["addsub-7"].answer == "6.5" and rows["singleop-7"].answer == "7"
    assert rows["addsub-7"].solution == "#### 6.5"


def test_mbpp(tmp_path):
    task = task_of("mbpp", made_up.mbpp(tmp_path))
    numbers = {s: [int(p.id[5:]) for p in task.problems(s)] for s in task.splits}
    assert numbers == {
        "train": list(range(601, 621)),
        "validation": list(range(511, 601)),
        "test": list(range(11, 511)),
    }
    problem = task.problems("train")[1]
    assert problem.prompt == (
        "Task: Write a function that adds 602 to a number.\nIt must pass these tests:\n"
        "assert add_602(0) == 602\nassert add_602(7) == 609\nProgram in Python:\n"
    )
    tests = ("assert add_602(0) == 602", "assert add_602(7) == 609")
    assert problem.answer.answer == CodeTests("import math", tests)
    assert problem.answer.solution == "def add_602(x):\n    y = x + 602\n\n    return y"
    few_shot = task_of("mbpp", tmp_path, prompt="few_shot", shots=10)
    shown = re.findall("adds ([0-9]+) to", few_shot.problems("train")[0].prompt)
    assert sorted(map(int, shown)) == [*range(1, 11), 601] and shown[-1] == "601"


def test_humaneval(tmp_path):
    task = task_of("humaneval", made_up.humaneval(tmp_path))
    problem = task.problems("test")[2]
    head = 'def plus_2(x):\n    """Adds 2 to x."""\n'
    assert (problem.id, problem.prompt) == ("HumanEval/2", head)
    tests = problem.answer.answer
    assert (tests.prefix, tests.entry_point, tests.tests) == (head, "plus_2", ())
    assert "candidate(1) == 3" in tests.checker
    assert problem.answer.solution == "    return x + 2"
    assert task.is_legal(problem, "    return 3") and not task.is_legal(problem, "    return (")
    for split in ("train", "validation"):
        with pytest.raises(UserError, match="for evaluation only"):
            task.problems(split)
    with pytest.raises(UserError, match="few_shot.*no training problems"):
        task_settings("humaneval")(prompt="few_shot")


def test_users_read_their_own_file(tmp_path):
    task = load_task("gsm8k")
    path = made_up.lines(
        tmp_path / "mine.jsonl",
        [{"question": "How many?", "answer": "#### 3"}, {"question": "A?", "answer": "A: 4"}],
    )
    assert [(p.id, p.answer.answer) for p in task.read(path)] == [
        ("mine.jsonl:1", "3"),
        ("mine.jsonl:2", "4"),
    ]
    path.write_text('{"question": "How many?", "answer": "three"}')
    with pytest.raises(UserError, match="mine.jsonl, line 1: the last line of `answer`"):
        task.read(path)


def test_a_typed_question_has_no_known_answer():
    task = load_task("gsm8k")
    problem = task.parse("  How many are 2 and 3?\n")
    assert problem == Problem("typed", "Question: How many are 2 and 3?\nAnswer:\n", None)
    assert not task.verdict(problem, "#### 5") and task.is_legal(problem, "#### 5")
    assert task.answer(problem.prompt, "#### 5") == "5"
    assert not load_task("mbpp").is_legal(load_task("mbpp").parse("Add."), "def f(:")
    with pytest.raises(UserError, match="has no solution to learn from"):
        task.demonstration(problem, np.random.default_rng(0))
    with pytest.raises(UserError, match="the problem is empty"):
        task.parse(" \n")


def test_what_json_can_hold_and_text_cannot(tmp_path):
    made_up.gsm8k(tmp_path, train=1)
    (tmp_path / "train.jsonl").write_text(
        json.dumps({"question": "Half \ud800?", "answer": "#### 3"})
    )
    with pytest.raises(UserError, match="train.jsonl, line 1"):
        task_of("gsm8k", tmp_path).problems("train")


@pytest.mark.parametrize(
    "settings",
    [
        {"prompt": "loud"},
        {"prompt": "chat"},
        {"shots": 0},
        {"shots_seed": -1},
        {"train_size": -1},
        {"annotations": "drop"},
    ],
)
def test_impossible_settings(settings):
    with pytest.raises(UserError, match=f"task.{next(iter(settings))}(=chat needs| must be )"):
        load_task("gsm8k", settings)
