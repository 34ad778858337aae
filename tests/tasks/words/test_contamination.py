import itertools
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expert_iter.contamination import report
from expert_iter.errors import UserError
from expert_iter.tasks import load_task
from expert_iter.tasks.words.contamination import RUN, Match, contaminated
from expert_iter.tasks.words.questions import normalised, opening, share_of, words_of
from expert_iter.tasks.words.rows import Row
from tests.tasks import made_up

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"


def rows(prefix, *questions):
    return [Row(f"{prefix}{i}", question, "1", "") for i, question in enumerate(questions)]


def test_which_and_why():
    train = rows("a", f"Say: {LONG}.", "How many  ARE 3, 5?", f"x {LONG[4:]}", "how many are 3?")
    test = rows("b", "how many are 3 5", f"{LONG} fifteen", "No.")
    assert contaminated(train, test) == [
        Match("a0", "b1", "shared words: one two three four five six seven eight nine ten eleven "
              "twelve thirteen"),
        Match("a1", "b0", "the same question"),
        Match("a2", "b1", "shared words: two three four five six seven eight nine ten eleven "
              "twelve thirteen fourteen"),
    ]  # fmt: skip
    assert contaminated(train, []) == contaminated([], test) == []


def test_twelve_words_are_not_enough():
    words = LONG.split()
    train = rows("a", " ".join(words[:12] + ["x"] + words[12:]))
    assert not contaminated(train, rows("b", LONG))
    assert contaminated(train, rows("b", " ".join(words[:12] + ["x", "y"])))


@given(st.lists(st.text("ab", min_size=16, max_size=18), min_size=2, max_size=6))
def test_against_a_plain_search(texts):
    """Over sequences of two words, many of which share a run of thirteen."""
    questions = [" ".join(text) for text in texts]
    train, test = rows("a", *questions[:1]), rows("b", *questions[1:])
    a = texts[0]
    found = any(
        a[i : i + RUN] == b[j : j + RUN]
        for b in texts[1:]
        for i, j in itertools.product(range(len(a) - RUN + 1), range(len(b) - RUN + 1))
    )
    assert bool(contaminated(train, test)) == found


def test_words():
    assert words_of("The Ｃafé's $1,234.50 -- “twenty-two”!") == (
        ["the", "café", "s", "1", "234", "50", "twenty", "two"]
    )
    assert normalised("What is 5 - 3?") == "what is 5 - 3" != normalised("What is 5 + 3?")
    assert normalised("5 * x") != normalised("5 / x") and normalised("a  B.") == normalised("A b")
    assert opening("There are 12 pens and 3") == opening("there are 7 pens. It")
    assert share_of("Some words") == share_of("some  words!") != share_of("other words")
    shares = [share_of(f"question {i}") for i in range(4000)]
    assert all(abs(sum(s < t for s in shares) / 4000 - t) < 0.03 for t in (0.05, 0.3, 0.7))


@pytest.fixture
def folder(tmp_path):
    """Every training question of row 10 to 12 is a test question, too."""
    made_up.gsm8k(tmp_path)
    train = (tmp_path / "train.jsonl").read_text().splitlines()
    (tmp_path / "test.jsonl").write_text("\n".join(train[10:13]))
    return tmp_path


def test_contaminated_problems_are_dropped_if_asked(folder):
    settings = {"data_dir": str(folder), "verify_files": False}
    ids = lambda **more: [  # noqa: E731
        p.id for p in load_task("gsm8k", settings | more).problems("train")
    ]
    kept, dropped = ids(), ids(drop_contaminated=True)
    leaked = {"train-10", "train-11", "train-12"} & set(kept)
    assert leaked and set(kept) - set(dropped) == leaked
    # Examples are not taken from them either.
    few = settings | {"prompt": "few_shot", "shots": 64, "drop_contaminated": True}
    shown = load_task("gsm8k", few)._shots
    questions = {normalised(row.question) for row in load_task("gsm8k", settings).rows("test")}
    assert not questions & set(shown)


def test_the_command(folder):
    def call(*arguments):
        command = [sys.executable, "-m", "expert_iter.contamination", *arguments]
        return subprocess.run(command, capture_output=True, text=True)

    done = call("--task=gsm8k", f"--data_dir={folder}", "--setting=verify_files=false")
    assert (done.returncode, done.stderr) == (0, "")
    assert "in test-1: the same question" in done.stdout
    assert "problems occur in the test's 3 (" in done.stdout
    failed = call("--task=gsm8k", f"--data_dir={folder}")
    assert failed.returncode == 2 and failed.stderr.startswith("error: "), failed.stderr
    assert "verify_files" in failed.stderr and failed.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", []), "--task is missing"),
        (("gsm9k", []), "did you mean gsm8k"),
        (("countdown", []), "not questions in words"),
        (("gsm8k", []), "task.data_dir is not set"),
        (("gsm8k", ["data=x"]), "no key 'task.data'"),
        (("gsm8k", ["verify_files=3"]), "true or false"),
    ],
)
def test_mistakes_on_the_command_line(arguments, message):
    with pytest.raises(UserError, match=message):
        report(*arguments)
