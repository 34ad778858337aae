"""Runs Python programs that nobody has read. What it holds back and what not: docs/sandbox.md."""

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
    """How a program ended: `ended` is 'exit', 'time' or 'output' (more of it than allowed).

    `exit_code` is 128 + the signal's number for a program that a signal ended, and None for one
    that was stopped. `output` holds stdout and stderr, cut at the limit.
    """

    exit_code: int | None
    output: bytes
    ended: str


def run(source: str, limits: Limits = _LIMITS, *, within: str | None = None) -> Result:
    """Runs a program to its end, or to its limits, and leaves nothing of it behind.

    `within` names the containment: by default the best that works here. Raises UserError if there
    is none.
    """
    within = within or pick_containment()
    deadline = time.monotonic() + limits.seconds
    said, theirs = os.pipe()
    try:
        try:
            program = Program(source, limits, within, stdout=theirs, stderr=subprocess.STDOUT)
        finally:
            os.close(theirs)
        with program:
            (output,), ended = collect([(said, limits.output_bytes)], deadline)
            # A program can close its output long before its end.
            if ended == "end" and not program.ends_by(deadline):
                ended = "time"
    finally:
        os.close(said)
    if ended != "end":
        return Result(None, output, ended)
    return Result(program.exit_code, output, "exit")
