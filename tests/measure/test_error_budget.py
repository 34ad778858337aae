"""The error budget of a small verifier whose mistakes are known by construction."""

import json

import pytest

from expert_iter.errors import UserError
from expert_iter.measure.error_budget import error_budget, read_labelled, terminal
from expert_iter.tasks import Problem
from expert_iter.tasks.verifier.pool import InProcessVerifier


class Sums:
    """Says right if the solution ends with the answer: so 12 passes for 2, and `2.` fails."""

    def problem_of(self, record, id):
        if not str(record.get("answer", "")).strip():
            raise ValueError("there is no `answer`")
        return Problem(id, record["question"], record["answer"].split()[-1])

    def verdict(self, problem, solution):
        return solution.endswith(problem.answer)

    def answer(self, question_prompt, solution):
        return solution.split()[-1] if solution.split() else None


TASK = Sums()
GOLD = "one and one\n#### 2"
PLAIN = [
    {"solution": "so\n2", "is_correct": True},
    {"solution": "so\nit is 12", "is_correct": False},
    {"solution": "2.", "is_correct": True},
    {"solution": "", "is_correct": True},
    {"solution": "3", "is_correct": False},
]


def write(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


@pytest.fixture
def plain(tmp_path):
    rows = [{"question": "1+1", "answer": GOLD, **row} for row in PLAIN]
    rows[1]["id"] = "twelve"
    return write(tmp_path / "plain.jsonl", rows)


@pytest.fixture
def models(tmp_path):
    """The same solutions in the form of GSM8K's published model solutions."""
    named = [dict(zip(("small", "large"), PLAIN[i : i + 2], strict=False)) for i in (0, 2, 4)]
    rows = [{"question": "1+1", "ground_truth": GOLD, **models} for models in named]
    return write(tmp_path / "models.jsonl", rows)


def ids(rows):
    return [row.problem.id for row in rows]


def test_mistakes_are_told_apart(plain):
    budget = error_budget(InProcessVerifier(TASK), read_labelled(plain, TASK))
    assert budget.judged == 5
    assert ids(budget.false_positives) == ["twelve"]
    assert ids(budget.false_negatives) == ["plain.jsonl:3", "plain.jsonl:4"]
    assert budget.agreement == 40


def test_published_form(models):
    rows = read_labelled(models, TASK)
    assert ids(rows) == [
        "models.jsonl:1 small",
        "models.jsonl:1 large",
        "models.jsonl:2 small",
        "models.jsonl:2 large",
        "models.jsonl:3 small",
    ]
    assert [(row.solution, row.is_correct) for row in rows] == [
        (row["solution"], row["is_correct"]) for row in PLAIN
    ]
    assert {(row.gold, row.problem.prompt, row.problem.answer) for row in rows} == {
        ("#### 2", "1+1", "2")
    }
    budget = error_budget(InProcessVerifier(TASK), rows)
    assert ids(budget.false_positives) == ["models.jsonl:1 large"]
    assert ids(budget.false_negatives) == ["models.jsonl:2 small", "models.jsonl:2 large"]


def test_csv_labels(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("question,answer,solution,is_correct\n1+1,2,2,True\n1+1,2,3,false\n1+1,2,2,0\n")
    budget = error_budget(InProcessVerifier(TASK), read_labelled(path, TASK))
    assert ids(budget.false_positives) == ["a.csv:4"] and not budget.false_negatives


def test_the_task_gets_no_labels(plain):
    records = []

    class Curious(Sums):
        def problem_of(self, record, id):
            records.append(record)
            return super().problem_of(record, id)

    read_labelled(plain, Curious())
    assert all(record.keys() <= {"id", "question", "answer"} for record in records)


def test_what_is_printed(plain):
    text = terminal(error_budget(InProcessVerifier(TASK), read_labelled(plain, TASK)), TASK)
    *cases, summary = text.split("\n\n")
    assert cases == [
        "False positives: the verifier says right, the label wrong.\n"
        "  twelve: gold '#### 2', proposed '12'\n"
        "    'it is 12'",
        "False negatives: the verifier says wrong, the label right.\n"
        "  plain.jsonl:3: gold '#### 2', proposed '2.'\n"
        "    '2.'\n"
        "  plain.jsonl:4: gold '#### 2', proposed none\n"
        "    ''",
    ]
    assert summary.startswith(
        "5 judged, 40.00% agree; 1 false positives, 2 false negatives; 0.00 s, "
    )
    assert summary.endswith(" verdicts a second")


def test_odd_lines_are_shown_safely(tmp_path):
    row = {"question": "?", "answer": "2", "solution": "\x1b[2J" + "x" * 500, "is_correct": True}
    path = write(tmp_path / "a.jsonl", [row])
    text = terminal(error_budget(InProcessVerifier(TASK), read_labelled(path, TASK)), TASK)
    assert "\x1b" not in text and max(map(len, text.splitlines())) < 130


def test_agreement_is_not_rounded_up(tmp_path):
    row = {"question": "?", "answer": "2", "solution": "2", "is_correct": True}
    rows = [row] * 99_999 + [{**row, "solution": "3"}]
    task = Sums()
    budget = error_budget(
        InProcessVerifier(task), read_labelled(write(tmp_path / "a.jsonl", rows), task)
    )
    assert budget.agreement == 99.99
    assert (
        error_budget(
            InProcessVerifier(task), read_labelled(write(tmp_path / "b.jsonl", [row]), task)
        ).agreement
        == 100
    )


GOOD = {"question": "1+1", "answer": "2", "solution": "2", "is_correct": True}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"solution": None}, "line 2: `solution` is not text"),
        ({"is_correct": "perhaps"}, "line 2: `is_correct` is neither true nor false"),
        ({"is_correct": 1}, "line 2: `is_correct` is neither true nor false"),
        ({"answer": " "}, "line 2: there is no `answer`"),
    ],
)
def test_damaged_rows(tmp_path, change, message):
    path = write(tmp_path / "a.jsonl", [GOOD, {**GOOD, **change}])
    with pytest.raises(UserError, match=message):
        read_labelled(path, TASK)


def test_rows_without_labels(tmp_path):
    path = write(tmp_path / "a.jsonl", [GOOD, {"question": "1+1", "answer": "2", "m": {"x": 1}}])
    with pytest.raises(UserError, match="line 2: there is neither `solution` with `is_correct`"):
        read_labelled(path, TASK)
