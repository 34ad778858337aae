"""What it costs that a world answers steps: searches of two runs of one task, in turn.

    python benchmarks/worlds.py --workdir=runs/network --workdir=runs/world [--repeats=5]

Each run searches a batch of its training problems as in self-play. Valued steps are candidates that
were drawn and whose value is known. Prints Markdown: medians, and the share of the time for which
the world was asked.
"""

import argparse
import statistics
import time
from pathlib import Path

import host
import jax
import numpy as np
from floors import machine

from expert_iter import cli
from expert_iter.assembly import Parts, assemble
from expert_iter.config import completed, settings
from expert_iter.load import load_params
from expert_iter.storage import workdir as workdir_lib
from expert_iter.tasks.verifier.observer import InProcessObserver


class Clock:
    """Stands for a world, and adds up the seconds that it takes."""

    def __init__(self, world):
        self.world, self.seconds = world, 0.0

    def observe(self, prompt: str, text: str):
        start = time.perf_counter()
        answer = self.world.observe(prompt, text)
        self.seconds += time.perf_counter() - start
        return answer


def searcher(parts: Parts, workdir: Path):
    """A function that searches a batch: valued steps, seconds, and seconds of the world."""
    expert, params = parts.expert(), load_params(workdir, parts)
    batch = parts.task.problems("train")[: parts.settings.run.batch_size], jax.random.key(0)
    clock = None
    if parts.world:
        clock = Clock(parts.task.world)
        parts.world.observer = InProcessObserver(clock)

    def search() -> tuple[int, float, float]:
        if clock:
            clock.seconds = 0.0
        start = time.perf_counter()
        tree = next(expert.searches(params, [batch])).trees
        seconds = time.perf_counter() - start
        valued = int(np.sum(tree.candidates.count * tree.live[..., None]))
        return valued, seconds, clock.seconds if clock else 0.0

    return search


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, action="append", required=True)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    cli.quiet()
    host.prepare()
    searches = {}
    for workdir in args.workdir:
        checked = settings(completed(workdir_lib.read_config(workdir)))
        searches[workdir] = searcher(assemble(checked, workdir), workdir)
    taken = {workdir: [] for workdir in searches}
    for repeat in range(1 + args.repeats):
        for workdir, search in searches.items():
            found = search()
            if repeat:  # the first compiles
                taken[workdir].append(found)
    print(f"{machine()}\n\n| run | valued steps/s | world |\n|---|--:|--:|")
    for workdir, found in taken.items():
        rate = statistics.median(valued / seconds for valued, seconds, _ in found)
        share = statistics.median(world / seconds for _, seconds, world in found)
        print(f"| {workdir.name} | {rate:,.0f} | {share:.1%} |")


if __name__ == "__main__":
    main()
