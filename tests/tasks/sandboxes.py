"""What the tests of contained code share: the containments that work here, and traces of a run."""

import itertools
import time
from pathlib import Path

from expert_iter.tasks.code.sandbox.containment import CONTAINMENTS, works

WORKING = [name for name in CONTAINMENTS if works(name)]

_sizes = itertools.count(300)


def own_memory() -> int:
    """A memory limit in MB that no other test uses, by which a run's processes can be told."""
    return next(_sizes)


def left_of(memory_mb: int, seconds: float = 5.0) -> list[str]:
    """The processes that are left of runs with this limit: waits for none, `seconds` at most."""
    mark = f"AS={memory_mb << 20},".encode()
    deadline = time.monotonic() + seconds
    while True:
        left = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = path.read_bytes()
            except OSError:
                continue  # has ended
            if mark in line:
                left.append(str(path))
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)
