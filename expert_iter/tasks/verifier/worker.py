"""The program of a worker: `python -m expert_iter.tasks.verifier.worker FD PARENT`.

FD is one end of a socket pair. The worker receives frames: a length (four bytes, big-endian), then
a pickle. The first is `(load, arguments, answer, megabytes)`: `load(*arguments)` makes the task.
Each other one is a list of pickled requests, to which `answer(task, request)` gives a JSON value.
The worker answers the first, and each request, with a line: a mark, then the JSON or a reason. Its
stdin is empty and its output is discarded, so that a task cannot break the protocol by reading or
printing.
"""

import ctypes
import functools
import itertools
import json
import os
import pickle
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from expert_iter.errors import UserError

READY = "r"
ANSWER = "="  # the JSON follows
FAILED = "!"  # the task cannot be made, or the answer raised; the reason follows
OUT_OF_MEMORY = "*"  # there is no answer; the process ends

MOST_LINE = 1 << 16  # bytes of a line
_MOST_REASON = 1000  # characters
_PR_SET_PDEATHSIG = 1  # from <sys/prctl.h>


def to_frame(message: object) -> bytes:
    """A message to a worker: the length of its pickle, then the pickle."""
    pickled = pickle.dumps(message)
    return len(pickled).to_bytes(4, "big") + pickled


def main(fd: int, parent: int) -> None:
    """Answers requests until the pool closes its end of the socket.

    Args:
      fd: file descriptor of the socket.
      parent: process id of the pool.
    """
    # Ctrl-C in a terminal goes to all processes, but only the pool ends a worker.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with(parent)
    os.set_inheritable(fd, False)  # else a process that the task starts would keep the socket open
    channel = socket.socket(fileno=fd)
    frames = _frames(channel.makefile("rb"))
    start = next(frames, None)
    if start is None:
        return
    try:
        answer = _make_answer(start)
    except BaseException as error:
        channel.sendall(_line(FAILED, reason_of(error)))
        return
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    channel.sendall(_line(READY))
    own = os.getpid()
    for request in itertools.chain.from_iterable(map(pickle.loads, frames)):
        reply = _reply(answer, request)
        if os.getpid() != own:  # the task forked, and this is the child
            return
        channel.sendall(reply)
        if reply.startswith(OUT_OF_MEMORY.encode()):
            return


def _make_answer(frame: bytes) -> Callable[[Any], Any]:
    load, arguments, answer, megabytes = pickle.loads(frame)
    _limit(megabytes)
    try:
        task = load(*arguments)
    except MemoryError:
        raise UserError(f"{megabytes} MiB are too few to start with") from None
    return functools.partial(answer, task)


def _reply(answer: Callable[[Any], Any], request: bytes) -> bytes:
    try:
        line = f"{ANSWER}{json.dumps(answer(pickle.loads(request)))}\n".encode()
        return line if len(line) <= MOST_LINE else _line(FAILED, "its answer is too long")
    except MemoryError:
        return _line(OUT_OF_MEMORY)
    except BaseException as error:  # even SystemExit
        return _line(FAILED, reason_of(error))


def reason_of(error: BaseException) -> str:
    """A description of the error, even if its own `__str__` raises."""
    try:
        return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    except Exception:  # raised by the error's `__str__`
        return type(error).__name__


def _line(mark: str, reason: str = "") -> bytes:
    reason = " ".join(reason.split())[:_MOST_REASON]
    return f"{mark}{reason}\n".encode(errors="backslashreplace")


def _frames(stream: BinaryIO) -> Iterator[bytes]:
    """The pickles received, until the other end is closed."""
    while len(head := stream.read(4)) == 4:
        yield stream.read(int.from_bytes(head, "big"))


def _end_with(parent: int) -> None:
    """Makes the system kill this process when the pool's thread ends, for whatever reason."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the pool ended before prctl
            os._exit(1)


def _limit(megabytes: int) -> None:
    """Limits the address space, in MiB, of this process and of those that it starts."""
    most = megabytes << 20
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # no core dump


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), int(sys.argv[2]))
        code = 0
    except BaseException:
        traceback.print_exc()
        code = 1
    os._exit(code)  # at once, even if the task left threads
