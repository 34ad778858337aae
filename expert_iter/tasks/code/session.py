"""A session of Python in the sandbox: blocks that see what those before them have defined.

No process stays between blocks: all are run again, so that a session can be continued in several
ways, by any process, with the same result.
"""

import functools
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

from expert_iter.tasks.code.sandbox.containment import pick_containment
from expert_iter.tasks.code.sandbox.output import collect
from expert_iter.tasks.code.sandbox.program import Limits, Program, in_memory

# Of session_guest.py: its exit code after the last block, and what it prints before the error.
_ENDED, _ERROR = 77, "\0"


class Stopped(Exception):
    """The session did not come to the end of its last block; the text says why."""


def printed(blocks: Sequence[str], limits: Limits, *, within: str | None = None) -> tuple[str, str]:
    """What the last block prints on stdout, and the last line of the traceback if it raises ('' if
    not).

    Errors of the blocks before end those blocks alone. `random` has the same seed each time, and
    sets have the same order; the clock goes on.

    Args:
      blocks: sources.
      limits: of all blocks together.
      within: the containment; by default the best one on this machine.

    Raises:
      Stopped: a limit is reached, or the process ended.
      UserError: this machine has no containment.
      OSError: this machine cannot start a process.
    """
    within = within or pick_containment()
    deadline = time.monotonic() + limits.seconds
    read, write = os.pipe()
    try:
        try:
            with open(in_memory(json.dumps(list(blocks)).encode()), "rb", 0) as stdin:
                source = _guest()
                program = Program(source, limits, within, stdin=stdin.fileno(), stdout=write)
        finally:
            os.close(write)
        with program:
            (output,), ended = collect([(read, limits.output_bytes)], deadline)
            if ended == "end" and not program.ends_by(deadline):
                ended = "time"
    finally:
        os.close(read)
    if ended == "time":
        raise Stopped(f"not done within {limits.seconds:g} seconds")
    if ended == "output":
        raise Stopped(f"printed more than {limits.output_bytes} bytes")
    if program.exit_code != _ENDED:
        raise Stopped("the process ended")
    text, _, error = output.decode(errors="replace").rpartition(_ERROR)
    return text, error


@functools.cache
def _guest() -> str:
    return Path(__file__).with_name("session_guest.py").read_text()
