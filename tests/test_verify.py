"""The command in a real process, on made-up files in the two forms."""

import json
import subprocess
import sys

import pytest

QUESTION = "Ann has 3 boxes of 6 pens. How many pens has she?"
GOLD = "Ann has 3 * 6 = <<3*6=18>>18 pens.\n"


def verify(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "expert_iter.verify", *arguments], capture_output=True, text=True
    )


def write(path, *rows):
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return f"--labelled={path}"


def labelled(solution, is_correct):
    return {"solution": solution, "is_correct": is_correct}


def test_mistakes_are_listed_and_summed_up(tmp_path):
    published = {
        "question": QUESTION,
        "ground_truth": GOLD + "A: 18",
        "small": labelled("3 * 6 = 18\nA: 18", True),
        "large": labelled("3 + 6 = 9\nA: 9", False),
        "wrongly labelled": labelled("3 * 6 = 18\nA: 18", False),
    }
    plain = {"question": QUESTION, "answer": GOLD + "#### 18", **labelled("#### 19", True)}
    file = write(tmp_path / "a.jsonl", published, plain)
    ended = verify("--task=gsm8k", file)
    assert ended.returncode == 0 and not ended.stderr
    assert ended.stdout.startswith(
        "False positives: the verifier says right, the label wrong.\n"
        "  a.jsonl:1 wrongly labelled: gold 'A: 18', proposed '18'\n"
        "    'A: 18'\n\n"
        "False negatives: the verifier says wrong, the label right.\n"
        "  a.jsonl:2: gold '#### 18', proposed '19'\n"
        "    '#### 19'\n\n"
        "4 judged, 50.00% agree; 1 false positives, 1 false negatives; "
    )


def test_a_number_game(tmp_path):
    goal = {"numbers": "2 3", "target": 6}
    rows = [{**goal, **labelled(text, True)} for text in ("2 * 3 = 6 : 6", "2 + 3 = 5 : 5")]
    ended = verify("--task=countdown", write(tmp_path / "a.jsonl", *rows))
    assert ended.stdout.startswith(
        "False negatives: the verifier says wrong, the label right.\n"
        "  a.jsonl:2: gold 'Goal(numbers=(2, 3), target=6)', proposed "
    )


@pytest.mark.parametrize(
    ("arguments", "row", "message"),
    [
        ([], {}, "--task is missing"),
        (["--task=gsm8k"], None, "--labelled is missing"),
        (["--task=gsm8"], {}, "there is no task 'gsm8'"),
        (["--task=gsm8k"], {}, "a.jsonl, line 2: there is neither `solution`"),
        (["--task=gsm8k"], labelled("18", True), "a.jsonl, line 2: "),
        (["--task=gsm8k", "--labelled=none.jsonl"], None, "none.jsonl: cannot be read"),
        (["--task=gsm8k", "more"], {}, "arguments given: 'more'"),
        (["--task=gsm8k", "--label=x"], {}, "unknown flag --label; did you mean '--labelled'?"),
    ],
)
def test_mistakes_of_the_user(tmp_path, arguments, row, message):
    good = {"question": QUESTION, "answer": GOLD + "#### 18", **labelled("18", True)}
    file = [] if row is None else [write(tmp_path / "a.jsonl", good, row)]
    ended = verify(*arguments, *file)
    assert ended.returncode == 2 and not ended.stdout
    assert message in ended.stderr and ended.stderr.count("\n") == 1


def test_help():
    ended = verify("--help")
    assert ended.returncode == 0
    assert "--labelled" in ended.stdout and "--workdir" not in ended.stdout
