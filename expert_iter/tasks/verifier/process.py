"""A worker process as the pool sees it; worker.py is the program that it runs."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")

_MOST_LINE = 1 << 16  # bytes; a correct line is far shorter
# Threads of numerical libraries would use up the limited address space.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class WorkerProcess(Generic[T]):
    """A worker process. Only `end` blocks.

    It is a new interpreter and not a fork, since this process has threads and JAX.

    Attributes:
      socket: select on it to know when to `read`, or to `flush` while `unsent`.
      items: its requests; it works on the first.
      since: when it began with the first request, or to start, in seconds of `time.monotonic`.
      ready: whether it has started.
    """

    def __init__(self, start: bytes):
        """Starts the process, which ends when the calling thread does.

        Args:
          start: the first message, which makes the task.

        Raises:
          OSError: the system cannot start a process.
        """
        self.socket, theirs = socket.socketpair()
        self.socket.setblocking(False)
        module = "expert_iter.tasks.verifier.worker"
        # The same module path as here, whatever the working directory.
        path = os.pathsep.join(map(os.path.abspath, sys.path))
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**os.environ, **_ONE_THREAD, "PYTHONPATH": path},
                start_new_session=True,  # a process group for `end` to kill
            )
        except OSError:
            self.socket.close()
            raise
        finally:
            theirs.close()
        self.items: deque[T] = deque()
        self.since = time.monotonic()
        self.ready = False
        self._received = b""
        self._unsent = bytearray()
        self.send(start)

    @property
    def unsent(self) -> bool:
        return bool(self._unsent)

    def assign(self, item: T, frame: bytes) -> None:
        """Sends a request and adds it to `items`."""
        if not self.items:
            self.since = time.monotonic()
        self.items.append(item)
        self.send(frame)

    def send(self, frame: bytes) -> None:
        self._unsent += frame
        self.flush()

    def flush(self) -> None:
        """Sends what the socket has room for."""
        # If the process has ended, `read` reports it.
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while self._unsent:
                del self._unsent[: self.socket.send(self._unsent)]

    def read(self) -> tuple[list[str], bool]:
        """The complete lines received, and whether the process may send more."""
        alive = True
        try:
            while alive and len(self._received) < _MOST_LINE:
                received = self.socket.recv(_MOST_LINE)
                self._received += received
                alive = bool(received)
        except BlockingIOError:
            pass
        except ConnectionError:
            alive = False
        *lines, self._received = self._received.split(b"\n")
        alive = alive and len(self._received) < _MOST_LINE
        return [line.decode(errors="replace") for line in lines], alive

    def end(self) -> str:
        """Kills the process and all that it started.

        Returns:
          How it ended, which may be before the kill, for the log.
        """
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        code = self._process.wait()
        self.socket.close()
        return f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
