"""Trains for an hour while being killed every few minutes, and checks that nothing was lost.

    python benchmarks/soak.py --minutes=60 --workdir=/tmp/soak

Two processes train together on this machine. After a random time one of them gets kill -9, or
SIGTERM (and kill -9 if it is still there after a minute, as a scheduler does); the others must end
within a minute, and all are started again. At the end every round must
be in metrics.jsonl once, and memory must not have grown from one life of the processes to the next.
"""

import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

from absl import app, flags

from expert_iter.pod import processes
from expert_iter.storage import metrics

ROOT = Path(__file__).parents[1]
SETTINGS = """
task.train_size=2000 task.validation_size=16 task.test_size=16 model.width=64 model.num_layers=2
model.mlp_width=128 warm_start.updates=50 learner.rows=8 learner.updates_per_round=10
run.rounds=1000000 run.problems_per_round=64 run.batch_size=32 run.save_seconds=5
search.num_simulations=6 search.num_candidates=4 replay.min_trees=256 replay.max_trees=256
evaluation.problems=16 evaluation.batch_size=16 evaluation.samples=(4,)
evaluation.simulations=(4,) evaluation.round_problems=16 evaluation.round_simulations=4
"""
SETTLED = 15  # phases after which a process has compiled what it will
PATIENCE = 600  # seconds for them
flags.DEFINE_float("minutes", 60, "How long.")
flags.DEFINE_float("life", 4, "Minutes from one kill to the next, on average.")
flags.DEFINE_integer("processes", 2, "How many train together.")
flags.DEFINE_string("workdir", None, "Where; made anew.", required=True)


def start(workdir: Path, count: int) -> list[subprocess.Popen]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "expert_iter.train", "--config=configs/countdown.py"]
    command += [f"--workdir={workdir}", *(f"--config.{setting}" for setting in SETTINGS.split())]
    known = {processes.COORDINATOR: where, processes.COUNT: str(count), "JAX_PLATFORMS": "cpu"}
    log = open(workdir / "log", "a")
    return [
        subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **known, processes.INDEX: str(i), "PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=log,
        )
        for i in range(count)
    ]


def megabytes(process: subprocess.Popen) -> float:
    """Memory that a process holds."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def live(workdir: Path, count: int, seconds: float, how: signal.Signals, victim: int) -> dict:
    """One life of the processes: from their start until they have settled, and so many seconds on,
    to the end of the last of them.
    """
    began, before, memory = time.monotonic(), len(metrics.read(workdir)), []
    end = began + PATIENCE
    all_of_them = start(workdir, count)
    while time.monotonic() < end:
        time.sleep(2)
        if any(process.poll() is not None for process in all_of_them):
            raise SystemExit(f"a process ended by itself; see {workdir / 'log'}")
        if memory or len(metrics.read(workdir)) >= before + SETTLED:
            end = end if memory else time.monotonic() + seconds
            memory.append(max(map(megabytes, all_of_them)))
    if not memory:
        raise SystemExit(f"hardly a phase in {PATIENCE} seconds; see {workdir / 'log'}")
    all_of_them[victim].send_signal(how)
    told, killed = time.monotonic(), ""
    for process in all_of_them:
        try:
            process.wait(max(60 - (time.monotonic() - told), 0))
        except subprocess.TimeoutExpired:
            killed = ", then SIGKILL"
            process.kill()
            process.wait()
    if killed and how == signal.SIGKILL:
        raise SystemExit("a process outlived a dead one by a minute")
    codes = [process.returncode for process in all_of_them]
    ended = time.monotonic() - told
    lines = len(metrics.read(workdir))
    return {
        "signal": how.name + killed,
        "ended": ended,
        "codes": codes,
        "memory": memory,
        "lines": lines,
    }


def main(_) -> None:
    workdir, rng = Path(flags.FLAGS.workdir), random.Random(0)
    workdir.mkdir(parents=True)
    until, lives = time.monotonic() + 60 * flags.FLAGS.minutes, []
    print("life  signal   ended after  exit codes   phases so far  memory: median, last, in MiB")
    while time.monotonic() < until:
        seconds = 60 * flags.FLAGS.life * rng.uniform(0.5, 1.5)
        how = rng.choice([signal.SIGKILL, signal.SIGTERM])
        life = live(workdir, flags.FLAGS.processes, seconds, how, rng.randrange(2))
        lives.append(life)
        memory = f"{statistics.median(life['memory']):.0f}, {life['memory'][-1]:.0f}"
        print(
            f"{len(lives):4d}  {life['signal']:7s}  {life['ended']:9.1f} s  {life['codes']!s:12s} "
            f"{life['lines']:13d}  {memory}",
            flush=True,
        )
    check(workdir, lives)


def check(workdir: Path, lives: list[dict]) -> None:
    lines = metrics.read(workdir)
    positions = [line["position"] for line in lines]
    assert positions == list(range(len(lines))), "a phase is missing or there twice"
    # Warm start, check, evaluation; then search, learning and check of each round.
    rounds = [line["round"] for line in lines[3:]]
    assert rounds == [1 + i // 3 for i in range(len(rounds))], "a round is missing or there twice"
    assert all(a["time"] <= b["time"] for a, b in zip(lines, lines[1:], strict=False))
    medians = [statistics.median(life["memory"]) for life in lives]
    spread = max(abs(m / statistics.median(medians) - 1) for m in medians)
    growth = [
        statistics.mean(m[-5:]) / statistics.mean(m[:5]) - 1
        for m in (life["memory"] for life in lives)
        if len(m) >= 20
    ]
    print(
        f"{len(lives)} lives, {rounds[-1]} rounds, none lost or repeated; memory by life within "
        f"{100 * spread:.1f}% of its median; within a life it changed by "
        f"{100 * min(growth):+.1f}% to {100 * max(growth):+.1f}%"
    )


if __name__ == "__main__":
    app.run(main)
