"""A sandbox for untrusted Python programs. docs/sandbox.md lists what it prevents."""

import os
import subprocess
import time
from dataclasses import dataclass

from expert_iter.tasks.code.sandbox.containment import available, pick_containment
from expert_iter.tasks.code.sandbox.output import collect
from expert_iter.tasks.code.sandbox.program import Limits, Program

__all__ = ["Limits", "Result", "available", "run"]

_LIMITS = Limits()


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


def run(source: str, limits: Limits = _LIMITS, *, within: str | None = None) -> Result:
    """Runs a program until it ends or reaches a limit. No process or file of it remains.

    Args:
      source: the program.
      limits: see `Limits`.
      within: the containment; by default the best one on this machine.

    Raises:
      UserError: this machine has no containment.
    """
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
