"""What the tests of contained code share: containments that work here, runs, and their traces."""

import itertools
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from expert_iter.tasks.code.sandbox.containment import CONTAINMENTS, pick_containment, works
from expert_iter.tasks.code.sandbox.output import collect
from expert_iter.tasks.code.sandbox.program import Limits, Program

WORKING = [name for name in CONTAINMENTS if works(name)]

_sizes = itertools.count(300)


@dataclass(frozen=True)
class Result:
    """How a program ended.

    Attributes:
      exit_code: 128 + the signal's number if a signal ended it; None if it was stopped at a limit.
      output: stdout and stderr together, cut at the limit.
      ended: 'exit', or the limit that it reached: 'time' or 'output'.
    """

    exit_code: int | None
    output: bytes
    ended: str


def run(source: str, limits: Limits | None = None, *, within: str | None = None) -> Result:
    """Runs a program until it ends or reaches a limit. No process or file of it remains."""
    limits = limits or Limits()
    within = within or pick_containment()
    deadline = time.monotonic() + limits.seconds
    read, write = os.pipe()
    try:
        try:
            program = Program(source, limits, within, stdout=write, stderr=subprocess.STDOUT)
        finally:
            os.close(write)
        with program:
            (output,), ended = collect([(read, limits.output_bytes)], deadline)
            # A program can close its output before it ends.
            if ended == "end" and not program.ends_by(deadline):
                ended = "time"
    finally:
        os.close(read)
    if ended != "end":
        return Result(None, output, ended)
    return Result(program.exit_code, output, "exit")


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
