"""A worker process as the pool sees it; worker.py is the program that it runs."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time

from expert_iter.tasks.verifier.worker import MOST_LINE

# Threads of numerical libraries would use up the limited address space.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Lost(Exception):
    """The process gave no answer; the text says why."""


class WorkerProcess:
    """A worker process.

    It is a new interpreter and not a fork, since this process has threads and JAX.
    """

    def __init__(self, start: bytes):
        """Starts the process, which ends when the calling thread does.

        Args:
          start: the first frame, which makes the task; see worker.py.

        Raises:
          OSError: the system cannot start a process.
        """
        self._socket, theirs = socket.socketpair()
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
            self._socket.close()
            raise
        finally:
            theirs.close()
        self._received = b""
        self.send(start)

    def send(self, frame: bytes, seconds: float | None = None) -> None:
        """Sends a frame, within the time limit. If it fails, `receive` reports it."""
        self._socket.settimeout(seconds)
        with contextlib.suppress(ConnectionError, TimeoutError):
            self._socket.sendall(frame)

    def receive(self, seconds: float) -> tuple[str, str]:
        """The next answer: its mark and its reason.

        Raises:
          Lost: the process has ended, or does not answer within the time limit.
        """
        deadline = time.monotonic() + seconds
        while b"\n" not in self._received and len(self._received) < MOST_LINE:
            # Waits at least a little: this thread may be late, and the answer may be there.
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                received = self._socket.recv(MOST_LINE)
            except TimeoutError:
                raise Lost(f"not done within {seconds:g} seconds") from None
            except ConnectionError:
                received = b""
            if not received:
                raise Lost(f"its process {self.end()}")
            self._received += received
        line, _, self._received = self._received.partition(b"\n")
        text = line.decode(errors="replace")
        return text[:1], text[1:]

    def is_idle(self) -> bool:
        """Whether the process waits for a message: it has not ended, and sent nothing unasked."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return not self._received and not poll.poll(0)

    def hang_up(self) -> None:
        """Makes `receive` raise in the thread that waits there."""
        with contextlib.suppress(OSError):  # has ended
            self._socket.shutdown(socket.SHUT_RDWR)

    def end(self) -> str:
        """Kills the process and all that it started.

        Returns:
          How it ended, which may be before the kill, for the log.
        """
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        code = self._process.wait()
        self._socket.close()
        return f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
