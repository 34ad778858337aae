"""What is said of a process that cannot say it itself.

One that is killed has no time to, and JAX's runtime and Gloo abort one that loses its coordinator.
A shell that waits beside it has the words, and needs no more than a pipe: the end of a process,
whatever brings it about, is the end of the pipe.
"""

import atexit
import subprocess

_shell: subprocess.Popen | None = None


def arm(message: str) -> None:
    """Has `words`, a line, come on stderr if this process ends before `disarm`, or before Python
    itself ends it.
    """
    global _shell
    _shell = subprocess.Popen(
        ["/bin/sh", "-c", 'read -r _ || printf "%s\\n" "$0" >&2', words],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C and a closed terminal are for the process, not for it
    )
    atexit.register(disarm)


def disarm() -> None:
    """Where this process has said itself why it ends, or ends as it should."""
    global _shell
    if _shell is not None:
        shell, _shell = _shell, None
        try:
            shell.communicate(b"\n", timeout=5)
        except (OSError, subprocess.TimeoutExpired):  # somebody killed or stopped the shell
            pass
