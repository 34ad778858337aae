"""What goes wrong around a run: it says so in a line, and nothing that was saved is lost."""

import contextlib
import errno
import os
import resource
import threading
import time
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from expert_iter import loop
from expert_iter.assembly import assemble
from expert_iter.config import default_config, settings
from expert_iter.errors import UserError
from expert_iter.pod import processes
from expert_iter.run import Run
from expert_iter.storage import metrics
from expert_iter.storage.checkpoints import Checkpoints
from expert_iter.storage.metrics import Metrics
from expert_iter.tasks import Problem
from expert_iter.tasks.verifier.pool import InProcessVerifier
from tests.pods import Pod, newest_place

WIDE = ("--config.model.mlp_width=4096",)  # files of some 100 KiB
SMALL_FILES = 100_000, 100_000  # bytes that a file may have, where there is no small disk to fill


def small_run(workdir, updates=3):
    """A run of one device, so small that its warm start takes no time."""
    config = default_config("countdown")
    shape = dict(width=16, num_layers=1, num_heads=2, head_dim=8, mlp_width=32)
    config.model.update(shape)
    config.task.update(train_size=100, validation_size=4, test_size=4)
    config.learner.update(rows=4, row_tokens=64, row_steps=16)
    config.warm_start.updates = updates
    config.run.save_seconds = 0.0
    config.mesh.data = 1
    workdir.mkdir(exist_ok=True)
    return Run(assemble(settings(config), workdir), workdir)


def plays(run):
    return run.parts.plays(run.parts.task.problems("train"))


# The disk


def test_a_disk_that_fills_up_ends_training_and_the_same_command_goes_on(tmp_path):
    workdir = tmp_path / "run"
    with Pod(workdir, 1, 1, *WIDE) as pod:
        pod.wait_until(lambda: newest_place(workdir) >= (0, 3))
        resource.prlimit(pod.processes[0].pid, resource.RLIMIT_FSIZE, SMALL_FILES)
        assert pod.codes(60) == [2]
        said = pod.said(0).splitlines()[-1]
    assert "could not be saved" in said and os.strerror(errno.EFBIG) in said and " stays" in said
    before = newest_place(workdir)
    assert (0, 3) <= before < (1, 0)
    with Pod(workdir, 1, 1, *WIDE) as pod:
        pod.wait_until(lambda: newest_place(workdir) > before)
        assert f"resuming at phase {before[0]}, unit {before[1]}" in pod.said(0)


@pytest.mark.slow
def test_one_process_of_two_that_cannot_write_ends_both(tmp_path):
    workdir = tmp_path / "run"
    with Pod(workdir, 2, 1, *WIDE, "--config.mesh.fsdp=2") as pod:  # each writes half
        pod.wait_until(lambda: newest_place(workdir) >= (0, 2))
        resource.prlimit(pod.processes[1].pid, resource.RLIMIT_FSIZE, SMALL_FILES)
        assert pod.codes(60) == [75, 2]
        assert "could not be saved" in pod.said(1).splitlines()[-1]
        assert "process 0: process 1 has died" in pod.said(0)
    assert Checkpoints(workdir / "checkpoints").restore() is not None


def test_a_file_in_the_way_of_the_checkpoints(tmp_path):
    run = small_run(tmp_path)
    (tmp_path / "checkpoints").write_text("not a directory")
    with pytest.raises(UserError, match="checkpoints is in the way of the checkpoints; move it"):
        loop.warm_start(run, plays(run))
    with pytest.raises(UserError, match="checkpoints is in the way of the checkpoints; move it"):
        small_run(tmp_path)
    assert (tmp_path / "checkpoints").read_text() == "not a directory"


def test_a_slow_disk_gets_what_was_there_when_the_save_began(tmp_path, monkeypatch):
    changed = threading.Event()
    monkeypatch.setattr(processes, "barrier", lambda name: changed.wait(60))
    checkpoints, meta = Checkpoints(tmp_path), {"figures": {"loss": [0.5, 1]}, "results": [1]}
    x = np.ones(3)
    checkpoints.start_saving(1, {"x": x}, meta)
    meta["figures"]["loss"][1] = 2
    meta["results"].append(2)
    x[0] = 5
    changed.set()
    checkpoints.finish()
    restored = checkpoints.restore()
    assert restored.meta == {"figures": {"loss": [0.5, 1]}, "results": [1]}
    np.testing.assert_array_equal(restored.arrays["x"], np.ones(3))


@pytest.mark.parametrize("how", ["missing", "truncated"])
def test_a_damaged_share_of_the_replay_is_passed_over(tmp_path, how, capsys):
    checkpoints = Checkpoints(tmp_path)
    for position in (1, 2):
        share = {"number": np.arange(50), "total": np.array(position)}
        checkpoints.save(position, {"params": {"x": np.ones(3)}}, {}, share=share)
    path = tmp_path / "000002.0" / "shares" / "0.npz"
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:100])
    restored = checkpoints.restore()
    assert restored.position == 1 and restored.shares[0]["total"] == 1
    said = capsys.readouterr().err
    assert "shares/0.npz" in said and "going back to checkpoint 1" in said
    # Who wants the parameters alone need not care.
    assert checkpoints.restore(only="params").position == 2


# The clock


def test_a_clock_that_goes_backwards_changes_nothing(tmp_path, monkeypatch):
    clock = iter(range(10**6, 0, -1000))
    monkeypatch.setattr(time, "time", lambda: float(next(clock)))
    with contextlib.closing(Metrics(tmp_path / "run")) as written:
        for position in range(3):
            written.write(position, {"loss": position})
    with contextlib.closing(Metrics(tmp_path / "run", resume_at=2)) as written:
        written.write(2, {"loss": 5})
    lines = metrics.read(tmp_path / "run")
    assert [(line["position"], line["loss"]) for line in lines] == [(0, 0), (1, 1), (2, 5)]
    assert lines[0]["time"] > lines[2]["time"]

    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for position in (1, 2, 3):
        checkpoints.save(position, {"x": np.full(3, position)}, {})
        for path in (tmp_path / "checkpoints").iterdir():  # the newest is the oldest by its time
            os.utime(path, (10**9 - 10**6 * position,) * 2)
    assert checkpoints.positions() == [2, 3]
    assert checkpoints.restore().arrays["x"][0] == 3


# The verifier


def test_a_verdict_that_raises_in_this_process_is_wrong_and_logged(caplog):
    class Unspeakable(Exception):
        def __str__(self):
            raise RuntimeError

    def verdict(problem, solution):
        if solution == "crash":
            raise ZeroDivisionError("by nothing")
        if solution == "unspeakable":
            raise Unspeakable
        return solution == problem.answer

    judge = InProcessVerifier(SimpleNamespace(verdict=verdict))
    problems = [Problem(f"p{i}", "?", "a") for i in range(5)]
    solutions = ["a", "crash", None, "a", "unspeakable"]
    assert judge.verify(problems, solutions) == [True, False, False, True, False]
    assert judge.submit(problems, solutions).result() == [True, False, False, True, False]
    assert [record.getMessage() for record in caplog.records[:2]] == [
        "the verdict on p1 counts as wrong: ZeroDivisionError: by nothing",
        "the verdict on p4 counts as wrong: Unspeakable",
    ]

    def interrupted(problem, solution):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        InProcessVerifier(SimpleNamespace(verdict=interrupted)).verify(problems, solutions)


# The loss


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_batch(tmp_path):
    run, batches = small_run(tmp_path), []
    update = run.learner.update

    def poisoned(state, batch):
        state, losses = update(state, batch)
        batches.append(jax.tree.map(np.array, batch))
        if len(batches) == 3:
            losses |= {"improved_loss": np.float32("nan"), "value_loss": np.float32("inf")}
        return state, losses

    run.learner.update = poisoned
    with pytest.raises(UserError) as error:
        loop.warm_start(run, plays(run))
    kept = tmp_path / "not_finite.0.npz"
    assert str(error.value).startswith(
        "improved_loss and value_loss is not a finite number in warm start, update 2; "
        f"the batch is in {kept}."
    )
    run.close()
    saved = np.load(kept)
    fields = batches[2]._asdict()
    arrays = fields | fields.pop("columns")
    assert set(saved) == set(arrays) > {"token_RxT", "imitation.weight", "value.target"}
    for name, array in arrays.items():
        np.testing.assert_array_equal(saved[name], array)

    # What is saved is from before, and goes on.
    again = small_run(tmp_path)
    assert again.resumed and int(again.train.updates) == 2
    loop.warm_start(again, plays(again))
    again.close()
    assert int(again.train.updates) == 3


def test_a_rate_that_is_far_too_high_says_what_to_lower(tmp_path):
    workdir = tmp_path / "run"
    wild = "--config.optimizer.learning_rate=1e30", "--config.run.save_seconds=1000"
    with Pod(workdir, 1, 1, *wild) as pod:
        assert pod.codes() == [2]
        said = pod.said(0).splitlines()[-1]
    assert said.startswith("error: ") and "optimizer.learning_rate" in said
    assert "in warm start, update" in said and (workdir / "not_finite.0.npz").exists()
    with Pod(workdir, 1, 1) as pod:  # mended, the same workdir serves
        pod.wait_until(lambda: newest_place(workdir) >= (0, 4))
