"""What it gains to search two batches at once (`run.batches_in_flight`).

    python benchmarks/self_play.py --workdir=runs/countdown

Searches batches of the run's training problems as self-play does, by turns with one batch in flight
and with --in_flight, with the task's verifier and with one that is slower by --verdict_ms a call.
Checks that the trees are equal. Prints Markdown: medians of --repeats, each of --batches batches,
and of the ratios within a repeat.
"""

import argparse
import dataclasses
import statistics
import time
from concurrent.futures import Future
from pathlib import Path
from threading import Timer

import host
import jax
import numpy as np

from expert_iter import cli
from expert_iter.assembly import Parts, assemble
from expert_iter.config import completed, settings
from expert_iter.load import load_params
from expert_iter.search.self_play import Batch, Searched, SelfPlay
from expert_iter.storage import workdir as workdir_lib
from expert_iter.tasks.verifier.pool import Verifier


class Delayed(Verifier):
    """Gives another verifier's verdicts late, as processes do that need the time."""

    def __init__(self, verifier: Verifier, milliseconds: float):
        self._verifier, self._seconds = verifier, milliseconds / 1000

    def submit(self, problems, solutions):
        verdicts, late = self._verifier.submit(problems, solutions), Future()
        Timer(self._seconds, lambda: late.set_result(verdicts.result())).start()
        return late


def expert_of(parts: Parts, in_flight: int, delay: float) -> SelfPlay:
    s = parts.settings
    changed = dataclasses.replace(s, run=dataclasses.replace(s.run, batches_in_flight=in_flight))
    expert = dataclasses.replace(parts, settings=changed).expert()
    if delay:
        expert._verifier.verifier = Delayed(parts.verifier, delay)
    return expert


def played(expert: SelfPlay, params, batches: list[Batch]) -> tuple[float, list[Searched]]:
    """Seconds, and what was found."""
    start = time.perf_counter()
    found = list(expert.searches(params, batches))
    return time.perf_counter() - start, found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--in_flight", type=int, default=2)
    parser.add_argument("--verdict_ms", type=float, default=50.0)
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    cli.quiet()
    checked = settings(completed(workdir_lib.read_config(args.workdir)))
    host.prepare(checked.learner.rows)
    parts = assemble(checked, args.workdir)
    params, size = load_params(args.workdir, parts), checked.run.batch_size
    problems = parts.task.problems("train")[: args.batches * size]
    keys = jax.random.split(jax.random.key(0), args.batches)
    batches = [(problems[i * size : (i + 1) * size], key) for i, key in enumerate(keys)]

    print("| verifier | one in flight, s a batch | several | ratio |\n|---|---|---|---|")
    for delay in (0.0, args.verdict_ms):
        experts = [expert_of(parts, n, delay) for n in (1, args.in_flight)]
        warm = [played(expert, params, batches)[1] for expert in experts]
        pairs = zip(*(jax.tree.leaves([x.trees for x in found]) for found in warm), strict=True)
        assert all(np.array_equal(one, other) for one, other in pairs)
        taken = [
            [played(expert, params, batches)[0] / args.batches for expert in experts]
            for _ in range(args.repeats)
        ]
        one, several = map(statistics.median, zip(*taken, strict=True))
        ratio = statistics.median(a / b for a, b in taken)
        name = f"{delay:g} ms slower" if delay else "the task's"
        print(f"| {name} | {one:.3f} | {several:.3f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
