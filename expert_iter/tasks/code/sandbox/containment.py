"""Which containment this machine has."""

import functools
import os
import shutil
import sys
import time

from expert_iter.errors import UserError
from expert_iter.tasks.code.sandbox.program import Limits, Program

CONTAINMENTS = ("bubblewrap", "namespaces")
ALLOW_UNSANDBOXED = "EXPERT_ITER_ALLOW_UNSANDBOXED_CODE"
_START_SECONDS = 30.0  # for the trial of a containment, on a machine however busy


@functools.cache
def available() -> str | None:
    """The containment that works on this machine: 'bubblewrap', else 'namespaces', else None."""
    return next((name for name in CONTAINMENTS if works(name)), None)


@functools.cache
def works(containment: str) -> bool:
    """Whether a program can be run in it, and import from the standard library."""
    if sys.platform != "linux" or (containment == "bubblewrap" and not shutil.which("bwrap")):
        return False
    try:
        with Program("import json", Limits(), containment) as program:
            return program.ends_by(time.monotonic() + _START_SECONDS) and program.exit_code == 0
    except OSError:
        return False


def pick_containment() -> str:
    """The containment to use. Raises UserError if there is none and the user did not allow it.

    'none', with one warning on stderr, if the user did.
    """
    found = available()
    if found is not None:
        return found
    if sys.platform != "linux":
        raise UserError("model-written code runs on Linux only: what contains it is Linux's own")
    if os.environ.get(ALLOW_UNSANDBOXED) != "1":
        raise UserError(
            "model-written code cannot be contained on this machine: install bubblewrap "
            "(apt-get install bubblewrap) or permit user namespaces (sysctl -w "
            "user.max_user_namespaces=1000), or pass --allow-unsandboxed-code"
        )
    _warn()
    return "none"


@functools.cache
def _warn() -> None:
    print(
        "warning: model-written code runs without a sandbox (--allow-unsandboxed-code): it can "
        "read and write all that you can",
        file=sys.stderr,
    )
