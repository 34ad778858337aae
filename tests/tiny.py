"""A run so small that it ends in seconds, and saves after every unit of work."""

import os
import subprocess
import sys
import tempfile
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests import forks
from tests.forks import ROOT

PATIENCE = 600.0  # seconds
# As the tests' own (see conftest.py), but on one CPU device.
XLA_FLAGS = " ".join(
    flag for flag in os.environ["XLA_FLAGS"].split() if "host_platform_device_count" not in flag
)
FLAGS = [
    "--config=configs/countdown.py",
    *(
        f"--config.{setting}"
        for setting in (
            "task.train_size=200 task.validation_size=16 task.test_size=16 "
            "model.width=16 model.num_layers=1 model.num_heads=2 model.head_dim=8 "
            "model.mlp_width=32 warm_start.updates=6 learner.rows=4 "
            "learner.updates_per_round=4 run.rounds=2 "
            "run.problems_per_round=16 run.batch_size=8 run.save_seconds=0 "
            "search.num_simulations=3 search.num_candidates=3 search.root_candidates=0 "
            "evaluation.problems=16 evaluation.batch_size=16 "
            "evaluation.samples=(4,) evaluation.simulations=(2,) "
            "evaluation.num_candidates=3 evaluation.root_candidates=0 evaluation.round_samples=4 "
            "evaluation.round_problems=8 evaluation.round_simulations=2"
        ).split()
    ),
]
# The same run, for nobody to kill: it saves at the ends of phases alone.
SAVING_SELDOM = [*FLAGS, "--config.run.save_seconds=600"]

_PATHS = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
_ENVIRONMENT = {"XLA_FLAGS": XLA_FLAGS, "PYTHONPATH": _PATHS}


def start(command: str, *arguments: str) -> BaseProcess:
    """Starts a command on one CPU device; what it says is lost."""
    nowhere = Path(os.devnull)
    return forks.start(command, list(arguments), _ENVIRONMENT, nowhere, nowhere)


def finish(command: str, *arguments: str) -> subprocess.CompletedProcess:
    """What comes of a command on one CPU device, in a process forked for it."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = (Path(folder, name) for name in ("out", "err"))
        process = forks.start(command, list(arguments), _ENVIRONMENT, out, err)
        process.join(PATIENCE)
        if process.exitcode is None:
            process.kill()
            process.join()
        said = out.read_text(), err.read_text()
    return subprocess.CompletedProcess([command, *arguments], process.exitcode, *said)


def typed(command: str, *arguments: str) -> subprocess.CompletedProcess:
    """What comes of `python -m expert_iter.COMMAND` as a user would type it, on one CPU device."""
    return subprocess.run(
        [sys.executable, "-m", f"expert_iter.{command}", *arguments],
        cwd=ROOT,
        env=os.environ | _ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
