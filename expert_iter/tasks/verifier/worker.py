"""Gives verdicts for a pool: `python -m expert_iter.tasks.verifier.worker FD PARENT`.

FD is its end of a socket pair. In come frames, a length (four bytes, most significant first) and a
pickle: first how to make the task, `(load, arguments, megabytes)`, then a `(problem, solution)`
each. Out goes a line of text for each frame: a mark, then why. Its stdin is empty and what it
prints is lost, so that no verifier can break the protocol by reading or printing.
"""

import ctypes
import os
import pickle
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import BinaryIO

from expert_iter.errors import UserError
from expert_iter.tasks.task import Problem, Task

READY = "r"
RIGHT = "+"
WRONG = "-"
FAILED = "!"  # what follows is why: of a task, that it cannot be made; of a verdict, what it raised
OUT_OF_MEMORY = "*"  # counted wrong; the process ends

_MOST_REASON = 1000  # characters
_PR_SET_PDEATHSIG = 1  # from <sys/prctl.h>


def to_frame(message: object) -> bytes:
    pickled = pickle.dumps(message)
    return len(pickled).to_bytes(4, "big") + pickled


def main(fd: int, parent: int) -> None:
    """Answers until the pool closes its end, or ends."""
    # Only the parent ends a worker: Ctrl-C in a terminal goes to all processes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with(parent)
    os.set_inheritable(fd, False)  # else what a verifier starts would hold the socket open
    channel = socket.socket(fileno=fd)
    frames = _frames(channel.makefile("rb"))
    start = next(frames, None)
    if start is None:
        return
    try:
        verdict = _make_task(start).verdict
    except BaseException as error:
        channel.sendall(_line(FAILED, reason_of(error)))
        return
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    channel.sendall(_line(READY))
    own = os.getpid()
    for frame in frames:
        reply = _judge(verdict, frame)
        if os.getpid() != own:  # a verifier forked, and its child came back here
            return
        channel.sendall(reply)
        if reply.startswith(OUT_OF_MEMORY.encode()):
            return


def _make_task(frame: bytes) -> Task:
    load, arguments, megabytes = pickle.loads(frame)
    _limit(megabytes)
    try:
        return load(*arguments)
    except MemoryError:
        raise UserError(f"{megabytes} MiB are too few to start with") from None


def _judge(verdict: Callable[[Problem, str], bool], frame: bytes) -> bytes:
    try:
        return _line(RIGHT if verdict(*pickle.loads(frame)) else WRONG)
    except MemoryError:
        return _line(OUT_OF_MEMORY)
    except BaseException as error:  # SystemExit too is no more than a wrong verdict
        return _line(FAILED, reason_of(error))


def reason_of(error: BaseException) -> str:
    """What went wrong, whatever the error is able to say."""
    try:
        return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    except Exception:  # an error that cannot say what it is
        return type(error).__name__


def _line(mark: str, reason: str = "") -> bytes:
    reason = " ".join(reason.split())[:_MOST_REASON]
    return f"{mark}{reason}\n".encode(errors="backslashreplace")


def _frames(stream: BinaryIO) -> Iterator[bytes]:
    """The pickles that come in, until the other end is closed."""
    while len(head := stream.read(4)) == 4:
        yield stream.read(int.from_bytes(head, "big"))


def _end_with(parent: int) -> None:
    """Has the system kill this process when the pool's thread ends, however that comes about."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before that was said
            os._exit(1)


def _limit(megabytes: int) -> None:
    """Bounds the address space, in MiB of 2**20 bytes, of this process and of those it starts."""
    most = megabytes << 20
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash leaves no file


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), int(sys.argv[2]))
        code = 0
    except BaseException:
        traceback.print_exc()
        code = 1
    os._exit(code)  # at once, whatever threads a verifier has left
