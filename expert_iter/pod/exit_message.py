"""Prints a message for a process that cannot print it itself.

A killed process has no time to, and JAX's runtime and Gloo abort a process that loses its
coordinator. A shell waits on a pipe from this process: however the process ends, the pipe closes,
and the shell prints.
"""

import atexit
import subprocess

_shell: subprocess.Popen | None = None


def arm(message: str) -> None:
    """Prints `message`, one line, on stderr if this process ends without calling `disarm`.

    Python calls `disarm` itself at a normal exit.
    """
    global _shell
    _shell = subprocess.Popen(
        ["/bin/sh", "-c", 'read -r _ || printf "%s\\n" "$0" >&2', message],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C and a closed terminal must not reach the shell
    )
    atexit.register(disarm)


def disarm() -> None:
    """Ends the shell without a message. Call it before an exit that has printed its own reason."""
    global _shell
    if _shell is not None:
        shell, _shell = _shell, None
        try:
            shell.communicate(b"\n", timeout=5)
        except (OSError, subprocess.TimeoutExpired):  # somebody killed or stopped the shell
            pass
