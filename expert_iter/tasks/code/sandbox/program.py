"""A contained Python program: starts it, and ends it with all processes that it started."""

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
# Where unused user numbers begin: far above those in use; lower where a container has fewer.
_HIGH_USERS, _FEW_USERS = 1 << 30, 1 << 15
_OPEN_FILES = 64
# Without it sets of strings would be in another order in each process.
_ENVIRONMENT = {"PYTHONHASHSEED": "0"}
# Processes of the containment that the kernel counts with the program's.
_AROUND = {"bubblewrap": 1, "namespaces": 2, "none": 0}
_starts = itertools.count()


@dataclass(frozen=True)
class Limits:
    """The resources of a program.

    Attributes:
      seconds: wall time, including the interpreter's start.
      cpu_seconds: processor time of each process.
      memory_mb: address space of each process, in MiB.
      processes: processes and threads together. With 1 the program can start neither.
      output_bytes: of stdout and stderr together.
      scratch_mb: size of /tmp and of each file, in MiB.
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
        """The argument of child.py.

        Args:
          processes_around: processes of the containment that the kernel counts with the program's.
        """
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
    """A running program. Leaving its context kills all of its processes and removes its files."""

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
    ):
        """Starts the program.

        Args:
          source: its source.
          limits: see `Limits`.
          containment: 'bubblewrap', 'namespaces', or 'none': only limits and the seccomp filter.
          stdin, stdout, stderr: file descriptors, or what `subprocess.Popen` accepts.
          descriptors: file descriptors that stay open in the program, under their numbers, which
            are its sys.argv[1:].

        Raises:
          OSError: the machine cannot start a process.
        """
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
            *map(str, descriptors),
        ]
        try:
            self._process = subprocess.Popen(
                _command(containment, limits, info, child),
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                pass_fds=(program, *([info] if contained else []), *descriptors),
                env=_ENVIRONMENT,
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
        """Whether the program ends by itself before `deadline`, in seconds of `time.monotonic`."""
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return False
        return True

    @property
    def exit_code(self) -> int | None:
        """The exit code, or 128 + the signal's number if a signal ended it; None while it runs."""
        code = self._process.returncode
        return 128 - code if code is not None and code < 0 else code

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *exception) -> None:
        first = self._first_process()
        if first is not None:
            # The kernel kills all processes of a pid namespace when its first process dies, and
            # reports its end after theirs.
            try:
                signal.pidfd_send_signal(first, signal.SIGKILL)
            except ProcessLookupError:
                pass  # has ended
            poll = select.poll()
            poll.register(first, select.POLLIN)
            poll.poll()
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
        """A pidfd of the first process in the program's pid namespace; None if it has ended.

        Waits until the namespace exists or could not be made.
        """
        with os.fdopen(self._info, "rb") as file:
            info = file.read()
        try:
            return os.pidfd_open(json.loads(info)["child-pid"]) if info else None
        except ProcessLookupError:
            return None


def in_memory(data: bytes) -> int:
    """A file descriptor to read `data` from, in memory. The caller closes it."""
    descriptor = os.memfd_create("data")
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


@functools.cache
def _user_numbers() -> int:
    """How many user numbers exist here; only 1 in some containers."""
    with open("/proc/self/uid_map") as file:
        return max(int(line.split()[0]) + int(line.split()[2]) for line in file)


def _is_root() -> bool:
    """Whether this process may become any user, and so needs no user namespace."""
    return os.geteuid() == 0 and _user_numbers() >= 2 * _FEW_USERS


def _unused_user() -> int:
    """A user number for one program, so that the kernel counts its processes separately."""
    first = _HIGH_USERS if _user_numbers() > 2 * _HIGH_USERS else _FEW_USERS
    return first + (os.getpid() * 64 + next(_starts) % 64) % (first - 1)


@functools.cache
def _script(name: str) -> str:
    return (_HERE / name).read_text()


def _command(containment: str, limits: Limits, info: int, child: Sequence[str]) -> list[str]:
    mounts = python_mounts()
    # -I but for the environment, which has nothing else.
    python = [mounts.python, "-P", "-s", "-S", "-X", "utf8", "-c"]
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
        command += ["--perms", "755", "--dir", parent]  # the default is access for the owner alone
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
