"""A contained Python program: how it is started, and ended with all that it has started."""

import functools
import itertools
import json
import math
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from expert_iter.tasks.code.sandbox.mounts import python_mounts
from expert_iter.tasks.code.sandbox.system_calls import seccomp_filter

_HERE = Path(__file__).parent
_NOBODY = 65534
_HIGH_USERS, _FEW_USERS = 1 << 30, 1 << 15  # user numbers that nobody is likely to have
_OPEN_FILES = 64
# How many processes of the containment are in the program's user namespace and counted with it.
_AROUND = {"bubblewrap": 1, "namespaces": 2, "none": 0}
_starts = itertools.count()


@dataclass(frozen=True)
class Limits:
    """What a program gets. `cpu_seconds` and `memory_mb` (of address space) count per process.

    `seconds` is by the clock, from the start on, the interpreter's own start included.
    `processes` counts threads too; with 1 a program can start neither.
    """

    seconds: float = 5.0
    cpu_seconds: float = 5.0
    memory_mb: int = 512
    processes: int = 1
    output_bytes: int = 1 << 20
    scratch_mb: int = 16

    @property
    def scratch_bytes(self) -> int:
        return self.scratch_mb << 20

    def rlimits(self, processes_around: int) -> str:
        """For child.py. `processes_around`: those of the containment that are counted with it."""
        numbers = {
            "CPU": math.ceil(self.cpu_seconds),
            "AS": self.memory_mb << 20,
            "FSIZE": self.scratch_bytes,
            "NOFILE": _OPEN_FILES,
            "NPROC": self.processes + processes_around,
            "CORE": 0,
            "MEMLOCK": 0,
            "MSGQUEUE": 0,
        }
        return ",".join(f"{name}={number}" for name, number in numbers.items())


class Program:
    """A running program. A context manager: at its end nothing of the program is left.

    `containment` is 'bubblewrap', 'namespaces' or 'none', which leaves the limits and the refused
    system calls alone. stdin, stdout and stderr are file descriptors or what subprocess takes;
    `descriptors` are kept open under their numbers, and `arguments` are the program's sys.argv[1:].
    """

    def __init__(
        self,
        source: str,
        limits: Limits,
        containment: str,
        *,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.DEVNULL,
        stderr: int = subprocess.DEVNULL,
        descriptors: Sequence[int] = (),
        arguments: Sequence[str] = (),
    ):
        contained = containment != "none"
        self._directory = None if contained else tempfile.TemporaryDirectory()
        self._info, info = os.pipe()
        program = in_memory(source.encode(errors="surrogatepass"))
        user = _unused_user() if contained and _is_root() else 0
        child = [
            str(program),
            str(user),
            limits.rlimits(0 if user else _AROUND[containment]),
            seccomp_filter(may_fork=limits.processes > 1).hex(),
            *arguments,
        ]
        try:
            self._process = subprocess.Popen(
                _command(containment, limits, info, child),
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                pass_fds=(program, *([info] if contained else []), *descriptors),
                env={},
                cwd=self._directory.name if self._directory else "/",
                start_new_session=True,
            )
        except BaseException:
            os.close(self._info)
            raise
        finally:
            os.close(program)
            os.close(info)

    def ends_by(self, deadline: float) -> bool:
        """Waits for the program's own end, until `deadline` (of time.monotonic()) at most."""
        process = os.pidfd_open(self._process.pid)
        try:
            ended = _has_ended(process, max(0.0, deadline - time.monotonic()))
        finally:
            os.close(process)
        if ended:
            self._process.wait()
        return ended

    @property
    def exit_code(self) -> int | None:
        """128 + the signal's number if a signal ended it; None while it runs."""
        code = self._process.returncode
        return 128 - code if code is not None and code < 0 else code

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *exception) -> None:
        first = self._first_process()
        if first is not None:
            # The kernel kills all processes of a pid namespace with its first, which is seen to
            # end when the last of the others has.
            try:
                signal.pidfd_send_signal(first, signal.SIGKILL)
            except ProcessLookupError:
                pass  # has ended
            _has_ended(first, None)
            os.close(first)
        else:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # has ended
        self._process.wait()
        if self._directory:
            self._directory.cleanup()

    def _first_process(self) -> int | None:
        """A pidfd of the first process of the program's pid namespace, None if it has ended.

        Waits until the namespace stands, or failed to.
        """
        with os.fdopen(self._info, "rb") as file:
            told = file.read()
        try:
            return os.pidfd_open(json.loads(told)["child-pid"]) if told else None
        except ProcessLookupError:
            return None


def _has_ended(process: int, seconds: float | None) -> bool:
    """Waits for the end of the process of a pidfd, for so long at most (None: for ever)."""
    poll = select.poll()
    poll.register(process, select.POLLIN)
    return bool(poll.poll(None if seconds is None else seconds * 1000))


def in_memory(data: bytes) -> int:
    """A descriptor to read `data` from, which is in no file system; the caller closes it."""
    descriptor = os.memfd_create("data")
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


@functools.cache
def _user_numbers() -> int:
    """How many user numbers exist here: 1 in some containers."""
    with open("/proc/self/uid_map") as file:
        return max(int(line.split()[0]) + int(line.split()[2]) for line in file)


def _is_root() -> bool:
    """Whether this process may become any user, and so needs no user namespace."""
    return os.geteuid() == 0 and _user_numbers() >= 2 * _FEW_USERS


def _unused_user() -> int:
    """A user number for one program, so that its processes are counted by themselves."""
    first = _HIGH_USERS if _user_numbers() > 2 * _HIGH_USERS else _FEW_USERS
    return first + (os.getpid() * 64 + next(_starts) % 64) % (first - 1)


@functools.cache
def _script(name: str) -> str:
    return (_HERE / name).read_text()


def _command(containment: str, limits: Limits, info: int, child: Sequence[str]) -> list[str]:
    mounts = python_mounts()
    python = [mounts.python, "-I", "-S", "-X", "utf8", "-c"]
    run_child = [*python, _script("child.py"), *child]
    if containment == "none":
        return run_child
    if containment == "bubblewrap":
        return [*_bubblewrap(limits, info), *run_child]
    settings = {
        "parent": os.getpid(),
        "own_user": not _is_root(),
        "info": info,
        "mounts": mounts._asdict(),
        "scratch_bytes": limits.scratch_bytes,
    }
    return [*python, _script("namespaces.py"), json.dumps(settings), _script("child.py"), *child]


def _bubblewrap(limits: Limits, info: int) -> list[str]:
    mounts = python_mounts()
    command = [shutil.which("bwrap"), "--die-with-parent", "--info-fd", str(info)]
    command += ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
    command += ["--hostname", "sandbox", "--cap-drop", "ALL"]
    if _is_root():
        command += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]  # child.py drops them
    else:
        command += ["--unshare-user", "--uid", str(_NOBODY), "--gid", str(_NOBODY)]
    for parent in mounts.parents():
        command += ["--perms", "755", "--dir", parent]  # by default for its owner alone
    for path in mounts.read_only:
        command += ["--ro-bind", path, path]
    for path in mounts.emptied:
        command += ["--size", "4096", "--tmpfs", path, "--remount-ro", path]
    for path in mounts.devices:
        command += ["--dev-bind", path, path]
    for where, target in mounts.links:
        command += ["--symlink", target, where]
    scratch = ["--perms", "1777", "--size", str(limits.scratch_bytes), "--tmpfs", "/tmp"]
    return [*command, *scratch, "--remount-ro", "/", "--chdir", "/tmp"]
