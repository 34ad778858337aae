"""Runs of a task whose world answers steps: resumed after a kill, on several processes, evaluated,
solved.
"""

import re
from fractions import Fraction

import jax
import numpy as np
import pytest

from expert_iter.load import trained_params
from expert_iter.tasks.words.tools.calculator import calculated
from tests.pods import assert_same_run, newest_place, train
from tests.tasks.made_up import lines
from tests.tasks.verdicts import contained
from tests.tiny import FLAGS, SAVING_SELDOM, finish, start

WORLD = (
    "--config.task.rules=world",
    "--config.search.max_observation_tokens=8",
    "--config.warm_start.hindsight=0.5",
    "--config.warm_start.value_targets=True",
    # Enough for moves that are legal.
    "--config.warm_start.updates=300",
    "--config.learner.rows=16",
    "--config.model.width=32",
    "--config.model.mlp_width=64",
)

TOOL = (
    *SAVING_SELDOM[1:],
    "--config.search.max_steps=4",
    "--config.search.max_step_tokens=16",
    "--config.tokenizer.vocab_size=384",
    "--config.model.num_kv_heads=2",
    # Enough for the notation.
    "--config.warm_start.updates=200",
    "--config.model.width=32",
    "--config.model.mlp_width=64",
    "--config.learner.row_tokens=224",
    "--config.learner.row_steps=24",
    "--config.learner.rows=4",
    "--config.run.rounds=1",
)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("world")
    done = finish("train", *SAVING_SELDOM, *WORLD, f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    return workdir


def test_evaluate_compares_experts_in_a_world(uninterrupted):
    done = finish("evaluate", f"--workdir={uninterrupted}")
    assert done.returncode == 0, done.stderr
    assert "MCTS" in done.stdout and "pass@4" in done.stdout


def test_solve_shows_what_the_world_said(uninterrupted):
    answered = []
    for problem in ("3 5 7 -> 15", "2 4 6 -> 12", "9 10 11 -> 8", "1 2 12 -> 13", "6 6 5 -> 7"):
        done = finish("solve", f"--workdir={uninterrupted}", problem)
        assert done.returncode == 0, done.stderr
        answered += re.findall(r"(\d+) ([-+*/]) (\d+) = (\S+) : ", done.stdout)
    assert answered
    for a, operator, b, result in answered:
        assert Fraction(result) == eval(f"Fraction({a}) {operator} Fraction({b})")


@pytest.mark.slow
def test_rollouts_are_answered(uninterrupted):
    done = finish("solve", f"--workdir={uninterrupted}", "3 5 7 -> 15", "--expert=mcts_rollouts")
    assert done.returncode == 0, done.stderr


def solved_with_a_tool(workdir, question, *flags):
    """What `solve` prints after a short training, with `evaluate` in between."""
    workdir = f"--workdir={workdir}"
    done = finish("train", flags[0], *TOOL, *flags[1:], workdir)
    assert done.returncode == 0, done.stderr
    done = finish("evaluate", workdir)
    assert done.returncode == 0 and "MCTS" in done.stdout, done.stderr
    done = finish("solve", workdir, question, "--simulations=24")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_calculator_answers_in_training_evaluation_and_solve(tmp_path):
    shown = solved_with_a_tool(
        tmp_path,
        "Ann has 5 pens. Ben gives Ann 4 more. How many pens does Ann have now?",
        "--config=configs/gsm8k_small.py:stories",
        "--config.task.tools=calculator",
        "--config.search.max_observation_tokens=8",
    )
    asked = re.findall(r"<<([^<>=\n]*)=([^<>\n]*)>>", shown)
    assert asked and all(calculated(expression) == result for expression, result in asked)


@contained
def test_python_answers_in_training_evaluation_and_solve(tmp_path):
    def row(a, b):
        solution = f"```python\nprint({a} + {b})\n```\n```output\n{a + b}\n```\n#### {a + b}"
        return {"question": f"What is {a} + {b}?", "answer": str(a + b), "solution": solution}

    files = {
        "train": [row(a, b) for a in range(9) for b in range(30)],
        "validation": [row(a, 31) for a in range(9)],
        "test": [row(a, 32) for a in range(9)],
    }
    shown = solved_with_a_tool(
        tmp_path / "run",
        "What is 3 + 4?",
        "--config=configs/gsm8k_small.py:jsonl",
        "--config.task.tools=python",
        "--config.task.answer_type=number",
        "--config.search.max_observation_tokens=32",
        *(
            f"--config.task.{name}_file={lines(tmp_path / f'{name}.jsonl', rows)}"
            for name, rows in files.items()
        ),
    )
    # A line of the tree is a step, and what was heard; the first step below it is the next line.
    below = r"print\(([0-9]+) \+ ([0-9]+)\) .*\n.* ``` ```output ([0-9]+) ``` "
    sums = [[int(number) for number in found] for found in re.findall(below, shown)]
    assert sums and all(a + b == total for a, b, total in sums)


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_as_if_it_never_was(uninterrupted, tmp_path):
    for place in ((0, 2), (3, 1), (4, 2)):
        process = start("train", *FLAGS, *WORLD, f"--workdir={tmp_path}")
        while process.is_alive() and newest_place(tmp_path) < place:
            process.join(0.01)
        process.kill()
        process.join()
    done = finish("train", *FLAGS, *WORLD, f"--workdir={tmp_path}")
    assert done.returncode == 0, done.stderr
    ours, theirs = (trained_params(workdir, "last") for workdir in (tmp_path, uninterrupted))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.slow
@pytest.mark.parametrize("expert", ["mcts", "guess"])
def test_two_processes_find_what_one_finds(expert, tmp_path):
    flags = *WORLD, f"--config.run.expert={expert}", "--config.run.save_seconds=600"
    alone = train(tmp_path / "alone", 1, 8, "--config.run.seed=0", *flags)
    two = train(tmp_path / "two", 2, 4, "--config.run.seed=0", *flags)
    assert_same_run(two, alone, 1e-4)  # 300 updates, whose sums are rounded otherwise
