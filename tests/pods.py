"""Trainings by real processes on this machine's CPU, as on a pod, and what they leave behind."""

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from expert_iter.load import trained_params
from expert_iter.pod.processes import COORDINATOR, COUNT, INDEX
from expert_iter.storage import metrics
from tests import forks

CONFIG = forks.ROOT / "configs" / "countdown.py"
# Few and small programs; 8 rows wherever rows are cut, for up to 8 devices.
SETTINGS = (
    "task.largest=8 task.max_target=12 task.max_value=24 task.train_size=200 "
    "task.validation_size=16 task.test_size=16 model.width=16 model.num_layers=1 "
    "model.num_heads=2 model.head_dim=8 model.mlp_width=32 warm_start.updates=6 "
    "learner.rows=8 learner.row_tokens=64 learner.row_steps=16 learner.updates_per_round=4 "
    "run.rounds=1 run.problems_per_round=24 run.batch_size=8 run.save_seconds=0 "
    "search.num_simulations=3 search.num_candidates=3 search.root_candidates=0 "
    "evaluation.problems=16 evaluation.batch_size=8 evaluation.samples=() "
    "evaluation.simulations=(2,4) evaluation.num_candidates=3 evaluation.root_candidates=0 "
    "evaluation.round_problems=8 evaluation.round_simulations=2"
).split()
FLAGS = [f"--config={CONFIG}", *(f"--config.{setting}" for setting in SETTINGS)]


class Pod:
    """`python -m expert_iter.train` with `FLAGS` and `flags`, started as so many processes of so
    many devices each. At the end of the `with` none of them is left.

    alone: one process is told of no coordinator.
    """

    def __init__(self, workdir: Path, processes: int, devices: int, *flags: str):
        self._logs = [workdir.with_name(f"{workdir.name}.{i}.log") for i in range(processes)]
        where = f"127.0.0.1:{_free_port()}"
        self.processes = []
        for i, log in enumerate(self._logs):
            environment = {"XLA_FLAGS": f"{_flags()} {_DEVICES}={devices}"}
            if processes > 1:
                environment |= {COORDINATOR: where, COUNT: str(processes), INDEX: str(i)}
            arguments = [*FLAGS, f"--workdir={workdir}", *flags]
            self.processes.append(forks.start("train", arguments, environment, log, log))

    def __enter__(self) -> "Pod":
        return self

    def __exit__(self, *_) -> None:
        for process in self.processes:
            process.kill()
            process.join()

    def said(self, i: int) -> str:
        """What process i has written."""
        return self._logs[i].read_text() if self._logs[i].exists() else ""

    def wait_until(self, reached: Callable[[], bool], seconds: float = 600.0) -> None:
        """Raises AssertionError if a process ends before, or if it takes too long."""
        deadline = time.monotonic() + seconds
        while not reached():
            assert time.monotonic() < deadline, "too long"
            ended = [i for i, process in enumerate(self.processes) if process.exitcode is not None]
            assert not ended, f"process {ended[0]} has ended: {self.said(ended[0])}"
            time.sleep(0.002)

    def send(self, i: int, number: signal.Signals) -> None:
        os.kill(self.processes[i].pid, number)

    def codes(self, seconds: float = 600.0) -> list[int | None]:
        """Waits for all to end: exit codes, of those killed minus the signal, None of those that
        are still there after so many seconds.
        """
        deadline = time.monotonic() + seconds
        for process in self.processes:
            process.join(max(deadline - time.monotonic(), 0.0))
        return [process.exitcode for process in self.processes]

    def finish(self) -> None:
        codes = self.codes()
        assert codes == [0] * len(codes), [self.said(i) for i in range(len(codes))]


_DEVICES = "--xla_force_host_platform_device_count"


def _flags() -> str:
    """What the tests say to XLA, but for the number of devices."""
    given = os.environ.get("XLA_FLAGS", "").split()
    return " ".join(flag for flag in given if not flag.startswith(_DEVICES))


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def train(workdir: Path, processes: int, devices: int, *flags: str) -> Path:
    """A run from where it is to its end."""
    with Pod(workdir, processes, devices, *flags) as pod:
        pod.finish()
    return workdir


def checkpoints(workdir: Path) -> list[Path]:
    """The complete ones, oldest first."""
    return sorted(path for path in workdir.glob("checkpoints/*.*") if path.name[0].isdecimal())


def place(checkpoint: Path) -> tuple[int, int]:
    """The phase and the unit that it was saved at."""
    meta = json.loads((checkpoint / "manifest.json").read_text())["content"]["meta"]
    return meta["phase"], meta["unit"]


def newest_place(workdir: Path) -> tuple[int, int]:
    for checkpoint in reversed(checkpoints(workdir)):
        try:
            return place(checkpoint)
        except OSError:  # just being removed
            continue
    return -1, 0


def assert_same_run(ours: Path, theirs: Path, tolerance: float = 0.0) -> None:
    """Two finished runs have equal parameters, metrics and tables, but for what the clock says."""
    params = trained_params(ours), trained_params(theirs)
    assert jax.tree.structure(params[0]) == jax.tree.structure(params[1])
    for one, other in zip(*map(jax.tree.leaves, params), strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)
    for one, other in zip(_figures(ours), _figures(theirs), strict=True):
        assert one.keys() == other.keys()
        for name, value in other.items():
            if isinstance(value, float):
                value = pytest.approx(value, rel=tolerance, abs=tolerance)
            assert one[name] == value, (name, one, other)


def _figures(workdir: Path) -> list[dict]:
    """The metrics' lines and the table's rows: verdicts, tokens and FLOPs."""
    rows = json.loads((workdir / "summary.json").read_text())["results"]
    is_time = lambda key: key == "time" or key.endswith("seconds")  # noqa: E731
    return [
        {key: value for key, value in figures.items() if not is_time(key)}
        for figures in [*metrics.read(workdir), *rows]
    ]
