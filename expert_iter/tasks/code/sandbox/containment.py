"""Chooses the containment: the best that works on this machine."""

import functools
import os
import shutil
import sys
import time

from expert_iter.errors import UserError
from expert_iter.tasks.code.sandbox.program import Limits, Program

CONTAINMENTS = ("bubblewrap", "namespaces")
ALLOW_UNSANDBOXED = "EXPERT_ITER_ALLOW_UNSANDBOXED_CODE"
_START_SECONDS = 30.0  # for the trial of a containment; generous, for busy machines


@functools.cache
def available() -> str | None:
    """The best containment that works here: 'bubblewrap', else 'namespaces', else None."""
    return next((name for name in CONTAINMENTS if works(name)), None)


@functools.cache
def works(containment: str) -> bool:
    """Whether a program runs in the containment, and can import from the standard library."""
    if sys.platform != "linux" or (containment == "bubblewrap" and not shutil.which("bwrap")):
        return False
    try:
        with Program("import json", Limits(), containment) as program:
            return program.ends_by(time.monotonic() + _START_SECONDS) and program.exit_code == 0
    except OSError:
        return False


def pick_containment() -> str:
    """The containment to use: `available()`, or 'none' with a warning if the user allows it.

    Raises:
      UserError: there is none, and the user did not pass --allow-unsandboxed-code.
    """
    found = available()
    if found is not None:
        return found
    if sys.platform != "linux":
        raise UserError(
            "model-written code runs on Linux only, for the sandbox needs Linux namespaces"
        )
    if os.environ.get(ALLOW_UNSANDBOXED) != "1":
        raise UserError(
            "this machine has no sandbox for model-written code: install bubblewrap "
            "(apt-get install bubblewrap), or permit user namespaces (sysctl -w "
            "user.max_user_namespaces=1000), or pass --allow-unsandboxed-code"
        )
    _warn()
    return "none"


@functools.cache
def _warn() -> None:
    print(
        "warning: model-written code runs without a sandbox (--allow-unsandboxed-code): it can "
        "read and write all files that you can",
        file=sys.stderr,
    )
