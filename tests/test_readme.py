"""What the README and its pages say to type works, from a user's own directory."""

import json
import math
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from expert_iter.learn.objectives import OBJECTIVES
from expert_iter.model.tokenizers.marks import TokenIds
from expert_iter.search import experts
from expert_iter.search.behaviour import SamplerConfig
from expert_iter.search.experts import ExpertSettings
from expert_iter.search.guess import GuessConfig
from expert_iter.search.search_config import SearchConfig
from expert_iter.storage import metrics
from expert_iter.tasks import TASKS
from tests.steps import steps_of
from tests.tiny import FLAGS, PATIENCE, ROOT, XLA_FLAGS

README = (ROOT / "README.md").read_text()
EXAMPLES = ROOT / "docs" / "examples"
TINY = [flag for flag in FLAGS if "--config=" not in flag]
# Of tasks in words, whose tokenizer and texts are larger.
TINY_WORDS = [
    f"--config.{setting}"
    for setting in """
        tokenizer.vocab_size=300 learner.row_tokens=256 search.max_steps=2 search.max_step_tokens=8
        guess.max_tokens=16 evaluation.samples=(2,) evaluation.simulations=(1,) verifier.workers=1
        model.num_kv_heads=1
    """.split()
]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands(text: str) -> list[list[str]]:
    """The words of each command in the page's bash blocks."""
    lines = "\n".join(blocks(text, "bash")).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def command(text: str, word: str) -> list[str]:
    """The first command that has the word in it."""
    return next(words for words in commands(text) if any(word in part for part in words))


def typed(words: list[str], cwd: Path, *more: str) -> str:
    """What a command prints: words of a page, typed in `cwd`, with smaller sizes after it."""
    environment = os.environ | {"XLA_FLAGS": XLA_FLAGS, "PYTHONPATH": str(ROOT)}
    if words[0].startswith("PYTHONPATH="):
        environment["PYTHONPATH"] = f"{words[0].partition('=')[2]}:{ROOT}"
        words = words[1:]
    assert words[0] == "python"
    done = subprocess.run(
        [sys.executable, *words[1:], *more],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture
def example(monkeypatch):
    """Loads a file of docs/examples; the tables are as before afterwards."""
    for table in (experts.EXPERTS, OBJECTIVES, TASKS):
        for name in set(table):
            monkeypatch.setitem(table, name, table[name])
    before = [(table, set(table)) for table in (experts.EXPERTS, OBJECTIVES, TASKS)]

    def load(name: str) -> None:
        text = (EXAMPLES / name).read_text()
        assert len(text.splitlines()) <= 40
        exec(compile(text, name, "exec"), {"__name__": name})

    yield load
    for table, names in before:
        for name in set(table) - names:
            del table[name]


def test_the_example_of_an_expert_is_best_first_search_without_a_heuristic(
    example, network, params
):
    example("likeliest.py")
    search = SearchConfig(num_simulations=6, num_candidates=3, max_steps=3, max_step_tokens=4)
    settings = ExpertSettings(search, SamplerConfig(temperature=1.3), GuessConfig())
    no_heuristic = settings._replace(
        search=SearchConfig(**{**vars(search), "heuristic_weight": 0.0})
    )
    ids = TokenIds(pad=0, bos=1, eos=2, newline=3)
    rng = np.random.default_rng(0)
    prompts = np.concatenate([np.ones((4, 1), int), rng.integers(2, 12, (4, 3))], axis=1)
    arguments = prompts, np.full(4, 4), np.arange(4), jax.random.split(jax.random.key(0), 4), 6
    mine, known = (
        jax.tree.map(
            np.asarray,
            jax.jit(experts.build(name, network, s, steps_of(ids)).run)(params, *arguments),
        )
        for name, s in (("likeliest", settings), ("best_first", no_heuristic))
    )
    jax.tree.map(np.testing.assert_array_equal, mine, known)
    assert mine.live.sum() > 12


def test_the_example_of_an_objective_is_minus_log_of_what_is_left(example):
    example("unlikelihood.py")
    make, config = OBJECTIVES["unlikelihood"]
    outputs = SimpleNamespace(log_pi_RxG=jnp.log(jnp.array([[0.5, 0.75, 0.9]])))
    batch = SimpleNamespace(columns={"unlikelihood.weight": jnp.array([[1.0, 2.0, 0.0]])})
    total, _ = make(config()).loss(outputs, batch)
    assert total == pytest.approx(math.log(2) + 2 * math.log(4), rel=1e-5)


def test_the_example_of_an_objective_takes_finished_wrong_candidates(example):
    example("unlikelihood.py")
    make, config = OBJECTIVES["unlikelihood"]
    # One node; its candidates are finished and wrong, right, a duplicate, and unfinished.
    flags = lambda *bits: np.array(bits, bool).reshape(1, 1, 4)  # noqa: E731
    tree = SimpleNamespace(
        live=np.ones((1, 1), bool),
        candidates=SimpleNamespace(finished=flags(1, 1, 1, 0), valid=flags(1, 1, 0, 1)),
        won=flags(0, 1, 0, 0),
    )
    lessons = make(config()).lessons(SimpleNamespace(trees=tree), rngs=[])
    assert lessons.taught.tolist() == [[[True, False, False, False]]]


def test_the_example_of_a_task_splits_all_tickets_by_their_digits(example):
    example("make_ten.py")
    make, config = TASKS["make_ten"]
    task = make(config())
    splits = [
        {tuple(sorted(problem.answer.numbers)) for problem in task.problems(split)}
        for split in ("train", "validation", "test")
    ]
    assert sum(map(len, splits)) == len(set.union(*splits)) == math.comb(9 + 4 - 1, 4)
    assert all(splits)
    ticket = task.parse("1 2 3 4")
    assert task.verdict(ticket, "1 + 2 = 3 : 3 3 4\n3 + 3 = 6 : 4 6\n4 + 6 = 10 : 10")
    assert not task.verdict(ticket, "1 * 2 = 2 : 2 3 4\n2 * 3 = 6 : 4 6\n4 * 6 = 24 : 24")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A user's directory with the repository's configs and pages, and a tiny run of Countdown."""
    home = tmp_path_factory.mktemp("home")
    for name in ("configs", "docs"):
        (home / name).symlink_to(ROOT / name)
    train = "python -m expert_iter.train --config=configs/countdown.py --workdir=runs/countdown"
    typed(train.split(), home, *TINY, "--config.evaluation.simulations=(2,16)")
    return home


@pytest.mark.slow
def test_the_python_example_prints_a_tree_and_its_answer(home):
    [code] = blocks(README, "python")
    (home / "walk.py").write_text(code)
    lines = typed(["python", "walk.py"], home).splitlines()
    assert len([line for line in lines if re.search(r" value [01]\.\d\d$", line)]) > 3
    assert not re.search(r" value [01]\.\d\d$", lines[-1])


@pytest.mark.slow
@pytest.mark.parametrize("word", ["solve", "--workdir=runs/countdown", "report"])
def test_commands_on_a_run_work(home, word):
    words = command(README, f"expert_iter.{word}" if "-" not in word else word)
    assert typed(words, home)
    if word == "report":
        assert "<html" in (home / "runs/countdown/report.html").read_text()


@pytest.mark.slow
def test_the_command_for_the_expert_solves_with_it(home):
    words = command(README, "--config.imports=likeliest")
    assert "3 5 7 -> 38" in typed(words, home)


@pytest.mark.slow
def test_an_expert_in_the_users_own_directory_is_found(home, tmp_path):
    (tmp_path / "likeliest.py").write_text((EXAMPLES / "likeliest.py").read_text())
    words = command(README, "--config.imports=likeliest")[1:]
    words = [word.replace("runs/", f"{home}/runs/") for word in words]
    assert "3 5 7 -> 38" in typed(words, tmp_path)


@pytest.mark.slow
def test_the_command_for_the_objective_learns_by_it(home):
    page = (ROOT / "docs/objectives.md").read_text()
    typed(command(page, "--config.imports=unlikelihood"), home, *TINY)
    lines = metrics.read(home / "runs/unlikelihood")
    losses = [line["learn/unlikelihood_loss"] for line in lines if "learn/gradient_norm" in line]
    assert losses and np.isfinite(losses).all() and max(losses) > 0


@pytest.mark.slow
def test_the_command_for_the_task_trains_on_it(home):
    page = (ROOT / "docs/tasks.md").read_text()
    sizes = [flag for flag in TINY if "config.task." not in flag]
    printed = typed(command(page, "--config.imports=make_ten"), home, *sizes)
    assert "make_ten" in printed and "greedy" in printed


@pytest.mark.slow
def test_problems_of_your_own_need_no_code(tmp_path):
    """The commands as they stand there, but for smaller sizes."""
    page = (ROOT / "docs/tasks.md").read_text()
    section = page[page.index("## Problems of your own") :]
    record = json.loads(blocks(section, "json")[0])
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    for name in ("train", "test"):
        lines = [{**record, "question": f"{record['question']} ({i})"} for i in range(60)]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / f"{name}.jsonl").write_text(text)
    train, evaluate, solve = commands(section)[:3]
    sizes = [flag for flag in TINY if "config.task." not in flag]
    assert "greedy" in typed(train, tmp_path, *sizes, *TINY_WORDS)
    assert "MCTS" in typed(evaluate, tmp_path)
    solved = typed(solve, tmp_path)
    assert "Ann has 5 pens" in solved and "verifier" not in solved, "no answer is known"
