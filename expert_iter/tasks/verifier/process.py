"""A worker process as the pool sees it; what it does is in `pool_worker`."""

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

_MOST_LINE = 1 << 16  # bytes; a line is far shorter
# Idle threads of numerical libraries would take much of the address space that is limited.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class WorkerProcess(Generic[T]):
    """A fresh interpreter, not a fork: this process has threads and JAX. Only `end` waits for it.

    Attributes:
      socket: to wait on for `read`, and for `flush` while `unsent`.
      items: handed out; it is at the first of them.
      since: when it came to be at that, or began to start, in seconds of `time.monotonic`.
      ready: whether it has started.
    """

    def __init__(self, start: bytes):
        """Raises OSError if the system gives no process. `start` is the first frame to send.

        The calling thread must live as long as the process is to.
        """
        self.socket, theirs = socket.socketpair()
        self.socket.setblocking(False)
        module = "expert_iter.tasks.verifier.worker"
        # The same modules as here, whatever folder this program was started in or by.
        path = os.pathsep.join(map(os.path.abspath, sys.path))
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**os.environ, **_ONE_THREAD, "PYTHONPATH": path},
                start_new_session=True,  # a group to kill, with what it has started
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

    def hand(self, item: T, frame: bytes) -> None:
        if not self.items:
            self.since = time.monotonic()
        self.items.append(item)
        self.send(frame)

    def send(self, frame: bytes) -> None:
        self._unsent += frame
        self.flush()

    def flush(self) -> None:
        """Sends what the process has room for."""
        # If it has ended, `read` says so.
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while self._unsent:
                del self._unsent[: self.socket.send(self._unsent)]

    def read(self) -> tuple[list[str], bool]:
        """The whole lines that have come, and whether more can."""
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
        """Kills it and what it has started, and says how it ended: its own way, if that was first.

        Waits, but only for the system to take back its memory.
        """
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        code = self._process.wait()
        self.socket.close()
        return f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
