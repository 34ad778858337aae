"""Kill -9 in every phase, and in the middle of saving: the run goes on, and ends bit-equal."""

import json
import shutil
import time

import jax
import numpy as np
import pytest

from expert_iter.load import describe, read_checkpoint, trained_params
from expert_iter.storage import metrics
from tests.tiny import FLAGS, SAVING_SELDOM, finish, start

# Phases by their number in the run, and the unit in them after which the process is killed.
KILLS = {
    "warm start": (0, 2),
    "evaluation": (2, 1),
    "search": (3, 1),
    "learning": (4, 2),
    "check": (8, 1),
}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    done = finish("train", *SAVING_SELDOM, f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    return workdir


def newest_place(workdir):
    """(phase, unit) of the newest complete checkpoint."""
    found = sorted(path for path in workdir.glob("checkpoints/*.*") if path.name[0].isdecimal())
    if not found:
        return (-1, 0)
    try:
        meta = json.loads((found[-1] / "manifest.json").read_text())["content"]["meta"]
    except OSError:  # just being replaced
        return (-1, 0)
    return meta["phase"], meta["unit"]


def kill_when(process, reached):
    deadline = time.monotonic() + 240
    while process.is_alive() and time.monotonic() < deadline:
        if reached():
            process.kill()
            process.join()
            return True
        time.sleep(0.002)
    return False


@pytest.mark.slow
def test_a_run_killed_in_every_phase_ends_as_if_it_never_was(uninterrupted, tmp_path):
    for phase, unit in KILLS.values():
        process = start("train", *FLAGS, f"--workdir={tmp_path}")
        assert kill_when(process, lambda p=phase, u=unit: newest_place(tmp_path) >= (p, u))

    # And once while a checkpoint is being written.
    process = start("train", *FLAGS, f"--workdir={tmp_path}")
    assert kill_when(process, lambda: any(tmp_path.glob("checkpoints/tmp.*")))

    done = finish("train", *FLAGS, f"--workdir={tmp_path}")
    assert done.returncode == 0, done.stderr
    for checkpoint in ("last", "best"):
        for ours, theirs in zip(
            jax.tree.leaves(trained_params(tmp_path, checkpoint)),
            jax.tree.leaves(trained_params(uninterrupted, checkpoint)),
            strict=True,
        ):
            np.testing.assert_array_equal(ours, theirs)

    timeless = lambda line: {k: v for k, v in line.items() if k != "time" and "seconds" not in k}  # noqa: E731
    assert [timeless(x) for x in metrics.read(tmp_path)] == [
        timeless(x) for x in metrics.read(uninterrupted)
    ]
    verdicts = lambda workdir: [  # noqa: E731
        (row["when"], row["method"], row["budget"], row["correct"])
        for row in json.loads((workdir / "summary.json").read_text())["results"]
    ]
    assert verdicts(tmp_path) == verdicts(uninterrupted)


def test_a_finished_run_is_only_summarised_again(uninterrupted):
    before = (uninterrupted / "metrics.jsonl").read_text()
    done = finish("train", *SAVING_SELDOM, f"--workdir={uninterrupted}")
    assert done.returncode == 0, done.stderr
    assert (uninterrupted / "metrics.jsonl").read_text() == before
    assert "greedy" in done.stdout


def test_another_config_is_refused_and_nothing_overwritten(uninterrupted):
    before = (uninterrupted / "config.json").read_text()
    wider = "--config.search.num_candidates=4"
    done = finish("train", *SAVING_SELDOM, f"--workdir={uninterrupted}", wider)
    assert done.returncode == 2
    assert "search.num_candidates was 3, is now 4" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert (uninterrupted / "config.json").read_text() == before


def test_settings_of_memory_may_be_others_when_a_run_is_resumed(uninterrupted, tmp_path):
    workdir = shutil.copytree(uninterrupted, tmp_path / "run")
    others = {
        "learner": {"rows": 8, "row_tokens": 96, "row_steps": 16, "overlong": "cut"},
        "run": {"batch_size": 4},
        "evaluation": {"batch_size": 8},
        "replay": {"max_trees": 5000},
    }
    flags = [f"--config.{s}.{key}={x}" for s, keys in others.items() for key, x in keys.items()]
    done = finish("train", *SAVING_SELDOM, f"--workdir={workdir}", *flags)
    assert done.returncode == 0, done.stderr
    kept = json.loads((workdir / "config.json").read_text())
    assert all(kept[section][key] == x for section in others for key, x in others[section].items())


FEW = pytest.param(["--methods=greedy,samples"], id="few methods")
ALL = pytest.param([], id="all methods", marks=pytest.mark.slow)


@pytest.mark.parametrize("methods", [FEW, ALL])
def test_evaluate_and_solve_need_only_the_workdir(methods, uninterrupted, tmp_path):
    problems = tmp_path / "problems.jsonl"
    problems.write_text('{"input": "3,5,7", "output": "15"}\n{"input": "2,4,6", "output": "12"}\n')
    done = finish("evaluate", f"--workdir={uninterrupted}", f"--problems={problems}", *methods)
    assert done.returncode == 0, done.stderr
    assert "2 problems" in done.stdout and "pass@4" in done.stdout
    assert ("MCTS" in done.stdout) == (not methods)

    done = finish("solve", f"--workdir={uninterrupted}", "3 5 7 -> 15")
    assert done.returncode == 0, done.stderr
    assert "3 5 7 -> 15" in done.stdout


def test_evaluate_says_which_checkpoint_it_reads(uninterrupted, tmp_path):
    problems = tmp_path / "problems.jsonl"
    problems.write_text('{"input": "3,5,7", "output": "15"}\n')
    flags = f"--workdir={uninterrupted}", f"--problems={problems}", "--methods=greedy"
    for checkpoint in ("last", "best"):
        saved = read_checkpoint(uninterrupted, checkpoint)
        done = finish("evaluate", *flags, f"--checkpoint={checkpoint}")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(describe(saved) + "\n"), done.stdout
        kept = json.loads((uninterrupted / "evaluation.json").read_text())
        assert (kept["checkpoint"], kept["problems"]) == (saved.position, str(problems))


def test_a_damaged_problems_file_is_named_with_its_line(uninterrupted, tmp_path):
    problems = tmp_path / "problems.jsonl"
    problems.write_text('{"input": "3,5,7", "output": "15"}\n{"input": "2,4"\n')
    done = finish("evaluate", f"--workdir={uninterrupted}", f"--problems={problems}")
    assert done.returncode == 2
    assert "problems.jsonl" in done.stderr and "line 2" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "flag, said",
    [
        ("--config.serach.num_simulations=3", "search"),
        ("--config.search.num_simulation=3", "num_simulations"),
        ("--config.search.num_simulations=0", "at least 1"),
        ("--config.run.rounds=-1", "run.rounds must be 0 or more"),
        ("--config.search.num_simulations=many", "search.num_simulations"),
        ("--wrokdir=x", "workdir"),
    ],
)
def test_bad_settings_are_one_clear_line_and_leave_no_trace(tmp_path, flag, said):
    workdir = tmp_path / "new"
    done = finish("train", *FLAGS, f"--workdir={workdir}", flag)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not workdir.exists()
