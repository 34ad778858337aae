"""How fast the pool of verifier processes gives verdicts, and what one that hangs costs the others.

    python benchmarks/verdicts.py --labelled=FILE [--task=gsm8k] [--workers=2]
    python benchmarks/verdicts.py --task=countdown

With --labelled, a file of labelled solutions as in `expert_iter.measure.error_budget`; without, the
task's own training problems, each with a text to learn from. Prints Markdown: verdicts a second of
one batch and of a plain loop in this process, how long single calls take that come one after the
other, and how late the verdicts of a batch are while one of them hangs. What stands for a verifier
that hangs is a worker stopped by SIGSTOP.
"""

import argparse
import json
import logging
import os
import signal
import time
from concurrent.futures import wait
from pathlib import Path

import numpy as np

from expert_iter.measure.error_budget import read_labelled
from expert_iter.tasks import Problem, load_task
from expert_iter.tasks.verifier.pool import VerifierConfig, VerifierPool

SIZES = (1, 8, 64)
CALLS = 200
ROUNDS = 5
HANG_SECONDS = 2.0


def solutions_of(task, labelled: str, n: int = 2640) -> tuple[list[Problem], list[str]]:
    if labelled:
        rows = read_labelled(labelled, task)
        return [row.problem for row in rows], [row.solution for row in rows]
    rng = np.random.default_rng(0)
    problems = list(task.problems("train"))[:n]
    return problems, [task.demonstration(problem, rng) for problem in problems]


def seconds_of(judge, problems, solutions) -> float:
    start = time.perf_counter()
    judge(problems, solutions)
    return time.perf_counter() - start


def throughput(pool, task, problems, solutions) -> None:
    def plain(problems, solutions):
        return [task.verdict(p, s) for p, s in zip(problems, solutions, strict=True)]

    assert pool.verify(problems, solutions) == plain(problems, solutions)  # and all is warm
    print("| verdicts | by | a second, median | slowest of", ROUNDS, "|\n|---|---|---|---|")
    for name, judge in (("pool", pool.verify), ("plain loop", plain)):
        seconds = [seconds_of(judge, problems, solutions) for _ in range(ROUNDS)]
        rate = [len(problems) / np.median(seconds), len(problems) / max(seconds)]
        print(f"| {len(problems)} | {name} | {rate[0]:,.0f} | {rate[1]:,.0f} |")


def latency(pool, problems, solutions) -> None:
    print("\n| items a call | median ms | 99th percentile ms |\n|---|---|---|")
    for size in SIZES:
        starts = [(i * size) % (len(problems) - size + 1) for i in range(CALLS)]
        seconds = [
            seconds_of(pool.verify, problems[i : i + size], solutions[i : i + size]) for i in starts
        ]
        middle, high = 1000 * np.percentile(seconds, [50, 99])
        print(f"| {size} | {middle:.2f} | {high:.2f} |")


def a_worker() -> int:
    """The id of a process that this one has started."""
    threads = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return int(" ".join(path.read_text() for path in threads).split()[0])


def delay(task_name, settings, workers, problems, solutions) -> None:
    print(
        f"\n| limit {HANG_SECONDS:g} s | done within 0.1 s | later | last, s |\n|---|---|---|---|"
    )
    config = VerifierConfig(workers=workers, seconds=HANG_SECONDS)
    with VerifierPool(task_name, settings, config) as pool:
        pool.verify(problems, solutions)
        for name in ("none hangs", "one hangs"):
            if name == "one hangs":
                os.kill(a_worker(), signal.SIGSTOP)
            seconds = seconds_until_done(pool, problems[:64], solutions[:64])
            soon = sum(second < 0.1 for second in seconds)
            print(f"| {name} | {soon} | {len(seconds) - soon} | {max(seconds):.2f} |")


def seconds_until_done(pool, problems, solutions) -> list[float]:
    """For every item, each asked for by a call of its own; the calls do not wait."""
    seconds = []
    start = time.perf_counter()
    futures = [pool.submit([p], [s]) for p, s in zip(problems, solutions, strict=True)]
    for future in futures:
        future.add_done_callback(lambda _: seconds.append(time.perf_counter() - start))
    wait(futures)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--labelled", default="")
    parser.add_argument("--task", default="gsm8k")
    parser.add_argument("--settings", type=json.loads, default={}, help="the task's, as JSON")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    logging.getLogger("expert_iter").setLevel(logging.ERROR)  # the hang is on purpose
    task = load_task(args.task, args.settings)
    problems, solutions = solutions_of(task, args.labelled)
    with VerifierPool(args.task, args.settings, VerifierConfig(workers=args.workers)) as pool:
        first = seconds_of(pool.verify, problems[:1], solutions[:1])
        print(f"{args.task}, {args.workers} workers; {first:.2f} s for their start and a verdict\n")
        throughput(pool, task, problems, solutions)
        latency(pool, problems, solutions)
    delay(args.task, args.settings, args.workers, problems, solutions)


if __name__ == "__main__":
    main()
