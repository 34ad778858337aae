"""What it costs to be two processes: two of them with a batch each, against one with both batches.

    python benchmarks/weak_scaling.py --workdir=/tmp/scaling

Both train on the same machine with as many devices in all, on the same problems, so that what
differs is only the talk between processes. Prints the seconds of search and learning in the rounds
after the first, which compiles, for several runs in turn, and the ratio of the medians.
"""

import os
import socket
import statistics
import subprocess
import sys
from pathlib import Path

from absl import app, flags

from expert_iter.pod import processes
from expert_iter.storage import metrics

ROOT = Path(__file__).parents[1]
SETTINGS = """
task.train_size=4000 task.validation_size=16 task.test_size=16 warm_start.updates=20
learner.updates_per_round=30 learner.max_passes=1000.0 run.rounds=4 run.problems_per_round=256
run.batch_size=256 run.save_seconds=1000.0 search.num_simulations=12
search.num_candidates=8 search.root_candidates=0
evaluation.problems=16 evaluation.batch_size=16 evaluation.samples=(2,)
evaluation.simulations=(2,) evaluation.round_problems=16 evaluation.round_simulations=2
"""
PHASES = "search", "learn"
flags.DEFINE_integer("runs", 3, "Of each kind, in turn.")
flags.DEFINE_string("workdir", None, "Where; made anew.", required=True)


def seconds(workdir: Path, count: int) -> dict[str, float]:
    """Of the phases of a run by `count` processes of 2 / count devices each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "expert_iter.train", "--config=configs/countdown.py"]
    command += [f"--workdir={workdir}", *(f"--config.{setting}" for setting in SETTINGS.split())]
    known = {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    known["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={2 // count}"
    if count > 1:
        known |= {processes.COORDINATOR: where, processes.COUNT: str(count)}
    running = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **known, **({processes.INDEX: str(i)} if count > 1 else {})},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for i in range(count)
    ]
    if any(process.wait() for process in running):
        raise SystemExit("a run failed")
    later = [line for line in metrics.read(workdir) if line["round"] > 1]
    return {phase: sum(line.get(f"{phase}/seconds", 0.0) for line in later) for phase in PHASES}


def main(_) -> None:
    workdir, found = Path(flags.FLAGS.workdir), {1: [], 2: []}
    for run in range(flags.FLAGS.runs):
        for count in (1, 2):
            found[count].append(seconds(workdir / f"{count}.{run}", count))
            print(f"{count} processes: {found[count][-1]}", flush=True)
    for phase in PHASES:
        one, two = (statistics.median(r[phase] for r in found[count]) for count in (1, 2))
        print(f"{phase}: {one:.1f} s by one process, {two:.1f} s by two: {two / one - 1:+.1%}")


if __name__ == "__main__":
    app.run(main)
