"""A run so small that it ends in seconds, and saves after every unit of work."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
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
            "search.num_simulations=3 search.num_candidates=3 "
            "evaluation.problems=16 evaluation.batch_size=16 "
            "evaluation.samples=(4,) evaluation.simulations=(2,) evaluation.num_candidates=3 "
            "evaluation.round_problems=8 evaluation.round_simulations=2"
        ).split()
    ),
]


def start(command: str, *arguments: str) -> subprocess.Popen:
    """Starts `python -m expert_iter.COMMAND` as a user would, on one CPU device."""
    return subprocess.Popen(
        [sys.executable, "-m", f"expert_iter.{command}", *arguments],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": XLA_FLAGS, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(command: str, *arguments: str) -> subprocess.CompletedProcess:
    process = start(command, *arguments)
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
