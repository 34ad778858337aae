"""Programs that try to get out, or to take more than they may, in each containment of this machine.

What a program could reach it prints; what held it back is named in the assertions.
"""

import os
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from pathlib import Path

import pytest

from expert_iter.errors import UserError
from expert_iter.tasks.code.sandbox import containment, program
from expert_iter.tasks.code.sandbox.mounts import python_mounts
from expert_iter.tasks.code.sandbox.program import Limits
from tests.tasks.sandboxes import WORKING, left_of, own_memory, run

pytestmark = pytest.mark.skipif(not WORKING, reason="no containment works on this machine")

PROJECT = Path(__file__).parents[3]


@pytest.fixture(params=WORKING)
def within(request):
    return request.param


def said(source: str, within: str, **limits) -> list[str]:
    """The lines that a program prints which ends by itself within generous limits."""
    result = run(textwrap.dedent(source), Limits(**{"seconds": 30, **limits}), within=within)
    assert result.ended == "exit"
    return result.output.decode().splitlines()


def test_a_program_runs_to_its_end(within):
    code = "import sys; print('out', flush=True); print('err', file=sys.stderr); sys.exit(3)"
    result = run(code, Limits(seconds=30), within=within)
    assert (result.exit_code, result.output, result.ended) == (3, b"out\nerr\n", "exit")
    killed = run("import os\nos.kill(os.getpid(), 6)", Limits(seconds=30), within=within)
    assert (killed.exit_code, killed.ended) == (128 + 6, "exit")


def test_it_starts_without_environment_descriptors_and_rights(within, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "s3cret")
    name = os.uname().nodename
    with open(tmp_path / "open", "w") as file:
        os.set_inheritable(file.fileno(), True)
        lines = said(
            """
            import os, sys
            print("SECRET" in os.environ, os.getuid() in (0, 1000), os.getpid() < 10)
            print(os.uname().nodename, os.getcwd(), os.listdir(), sys.argv)
            for number in range(64):
                try:
                    os.fstat(number)
                    print(number)
                except OSError:
                    pass
            """,
            within,
        )
    assert lines[:2] == ["False False True", "sandbox /tmp [] ['program']"]
    assert lines[2:] == ["0", "1", "2"]
    assert os.uname().nodename == name


def test_it_reads_neither_home_nor_project_nor_the_hosts_files(within):
    private = [path for path in Path.home().iterdir() if path.is_file()]
    wanted = [__file__, program.__file__, PROJECT / "setup.py", *private, "/etc/passwd"]
    wanted += ["/etc/hostname", "/proc/self/status", "/proc/1/environ", "/sys/kernel/notes"]
    code = f"""
        for path in {[str(path) for path in wanted]}:
            try:
                open(path).close()
                print("read", path)
            except OSError:
                pass
        try:
            import numpy
            print("numpy")
        except ImportError:
            pass
        import os, site, sysconfig
        for directory in {[str(PROJECT), "/home", "/var", "/usr/share", "/proc", "/sys"]}:
            print(*(os.listdir(directory) if os.path.exists(directory) else []), end="")
        packages = sysconfig.get_path("purelib")
        print(*(os.listdir(packages) if os.path.exists(packages) else []), end="")
        """
    assert said(code, within) == []


def test_it_writes_to_its_scratch_directory_alone(within):
    name = f"escape-{uuid.uuid4().hex}"
    places = ["/", "/usr/lib", "/etc", "/dev", os.path.dirname(os.__file__), "/var/tmp", "/dev/shm"]
    places += [str(Path.home()), str(PROJECT), os.getcwd()]
    code = f"""
        import os
        for place in {places}:
            try:
                open(place + "/{name}", "w").close()
                print("wrote", place)
            except OSError:
                pass
        try:
            open(os.__file__, "r+").close()
            print("opened the library to write")
        except OSError:
            pass
        for path in {["/", *python_mounts().read_only]}:
            if not os.statvfs(path).f_flag & os.ST_RDONLY:
                print("not read-only", path)
        open("/tmp/{name}", "w").close()
        print(os.listdir("/tmp"))
        """
    assert said(code, within) == [f"['{name}']"]
    for place in [*places, "/tmp"]:
        assert not os.path.exists(os.path.join(place, name))


def test_the_scratch_directory_is_limited(within):
    code = """
        import errno, os
        written = 0
        try:
            for number in range(100):
                with open(f"/tmp/{number}", "wb", 0) as file:
                    for _ in range(4):
                        written += file.write(bytes(1 << 20))
        except OSError as error:
            print(errno.errorcode[error.errno])
        print(written <= 8 << 20)
        try:
            with open("/dev/null", "wb") as null:
                os.posix_fallocate(os.open("/tmp/0", os.O_RDWR), 0, 1 << 30)
        except OSError as error:
            print(errno.errorcode[error.errno])
        """
    assert said(code, within, scratch_mb=8) == ["ENOSPC", "True", "EFBIG"]


def test_no_network_and_no_sockets(within):
    code = """
        import socket
        for family, address in (
            (socket.AF_INET, ("127.0.0.1", 80)), (socket.AF_INET6, ("::1", 80)),
            (socket.AF_UNIX, "/run/systemd/notify"), (socket.AF_NETLINK, (0, 0)),
        ):
            try:
                socket.socket(family).connect(address)
                print("connected", family)
            except PermissionError:
                print("refused")
        """
    assert said(code, within) == ["refused"] * 4


def test_system_calls_that_open_the_kernel_are_refused(within):
    code = """
        import ctypes, errno, os
        libc = ctypes.CDLL(None, use_errno=True)
        for call in (
            lambda: libc.unshare(0x10000000), lambda: libc.mount(b"none", b"/tmp", b"tmpfs", 0, 0),
            lambda: libc.umount2(b"/usr/lib", 2), lambda: libc.chroot(b"/tmp"),
            lambda: libc.ptrace(16, 1, 0, 0), lambda: libc.setns(0, 0),
            lambda: libc.memfd_create(b"m", 0), lambda: libc.shmget(0, 1 << 20, 0o1600),
            lambda: libc.sethostname(b"x", 1),
            lambda: libc.prctl(24, 21, 0, 0, 0),
        ):
            print(call(), errno.errorcode[ctypes.get_errno()])
        libc.setuid(0)
        print("root") if os.getuid() == 0 else None
        """
    assert said(code, within) == ["-1 EPERM"] * 10


def test_it_starts_no_process_or_thread_by_default(within):
    code = """
        import os, subprocess, sys, threading
        for start in (
            os.fork, lambda: subprocess.run([sys.executable, "-c", ""]),
            threading.Thread(target=print).start,
        ):
            try:
                start()
                print("started")
            except (OSError, RuntimeError):
                print("refused")
        """
    assert said(code, within) == ["refused"] * 3


def test_a_fork_bomb_is_limited_and_leaves_nothing(within):
    memory = own_memory()
    code = """
        import os, time
        for _ in range(1000):
            try:
                if os.fork() == 0:
                    while True:
                        try:
                            os.fork()
                        except OSError:
                            time.sleep(0.01)
            except OSError:
                pass
        """
    start = time.monotonic()
    limits = Limits(seconds=2, memory_mb=memory, processes=8)
    result = run(textwrap.dedent(code), limits, within=within)
    assert result.ended in ("exit", "time") and time.monotonic() - start < 20
    assert left_of(memory) == []


@pytest.mark.skipif(
    os.geteuid() == 0 and not program._is_root(),
    reason="the kernel may count no processes of a root that has no other users",
)
def test_as_many_processes_as_allowed(within):
    code = """
        import os, time
        started = 0
        try:
            for _ in range(20):
                if os.fork() == 0:
                    time.sleep(60)
                started += 1
        except OSError:
            print(started)
        """
    assert said(code, within, processes=4)[0] == "3"


@pytest.mark.parametrize(
    "detach", ["os.setsid()", "signal.signal(signal.SIGTERM, signal.SIG_IGN)", "os.close(1)"]
)
def test_a_daemon_ends_with_the_run(within, detach):
    memory = own_memory()
    code = f"""
        import os, signal, time
        if os.fork() == 0:
            {detach}
            if os.fork() == 0:
                for number in range(3):
                    os.close(number) if number else None
                time.sleep(600)
            os._exit(0)
        os._exit(5)
        """
    limits = Limits(seconds=3, memory_mb=memory, processes=8)
    start = time.monotonic()
    assert run(textwrap.dedent(code), limits, within=within).exit_code in (5, None)
    assert time.monotonic() - start < 20
    assert left_of(memory) == []


def test_memory_is_limited(within):
    lines = said("try:\n    bytearray(1 << 30)\nexcept MemoryError:\n    print('no')", within)
    assert lines == ["no"]
    hoard = "x = []\nwhile True: x.append('y' * (1 << 20))"
    assert run(hoard, Limits(seconds=30), within=within).exit_code == 1


DEAF = """
import signal, time
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
time.sleep(600)
"""
SILENT = "import os\nos.closerange(0, 64)\nwhile True: pass"


@pytest.mark.parametrize("code", ["while True: pass", "import time; time.sleep(600)", DEAF, SILENT])
def test_time_is_limited(within, code):
    memory = own_memory()
    start = time.monotonic()
    result = run(code, Limits(seconds=1, memory_mb=memory), within=within)
    assert (result.ended, result.exit_code) == ("time", None)
    assert time.monotonic() - start < 15
    assert left_of(memory) == []


def test_processor_time_is_limited(within):
    result = run("while True: pass", Limits(seconds=60, cpu_seconds=1), within=within)
    assert result.exit_code in (128 + signal.SIGXCPU, 128 + signal.SIGKILL)


def test_output_is_limited(within):
    limits = Limits(seconds=60, output_bytes=1 << 16)
    flood = "import os\nfor _ in range(1 << 14): os.write(1, bytes(1 << 16))"
    result = run(flood, limits, within=within)
    assert (result.ended, result.exit_code, len(result.output)) == ("output", None, 1 << 16)


def test_limits_cannot_be_raised(within):
    code = """
        import resource
        for name in ("CPU", "AS", "FSIZE", "NOFILE", "NPROC", "CORE"):
            kind = getattr(resource, "RLIMIT_" + name)
            hard = resource.getrlimit(kind)[1]
            try:
                resource.setrlimit(kind, (hard, hard + 1))
                print("raised", name)
            except (ValueError, OSError):
                pass
        """
    assert said(code, within) == []


def test_it_cannot_kill_what_is_around_it(within):
    code = """
        import os
        for victim in (os.getppid(), 1, -1, PARENT):
            for number in (9, 15, 19):
                try:
                    os.kill(victim, number)
                except OSError:
                    pass
        print("alive")
        """.replace("PARENT", str(os.getpid()))
    assert said(code, within) == ["alive"]


def test_a_killed_parent_leaves_nothing(within):
    memory = own_memory()
    code = (
        "from tests.tasks.sandboxes import Limits, run\n"
        f"run('while True: pass', Limits(seconds=600, cpu_seconds=600, memory_mb={memory}), "
        f"within={within!r})"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT)
    try:
        deadline = time.monotonic() + 60
        while len(left_of(memory, seconds=0)) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(left_of(memory, seconds=0)) >= 3
    finally:
        parent.kill()
        parent.wait()
    assert left_of(memory) == []


def test_no_descriptor_is_left_open(within):
    run("", within=within)
    before = sorted(os.listdir("/proc/self/fd"))
    for code in ("", "while True: pass", "import sys; sys.exit(1)"):
        run(code, Limits(seconds=0.5), within=within)
    assert sorted(os.listdir("/proc/self/fd")) == before


@pytest.fixture
def without_containment(monkeypatch):
    monkeypatch.setattr(containment, "available", lambda: None)
    monkeypatch.delenv("EXPERT_ITER_ALLOW_UNSANDBOXED_CODE", raising=False)
    containment._warn.cache_clear()


def test_without_containment_nothing_runs(without_containment, tmp_path):
    with pytest.raises(UserError, match="apt-get install bubblewrap") as error:
        run(f"open({str(tmp_path / 'ran')!r}, 'w')")
    assert "\n" not in str(error.value) and not (tmp_path / "ran").exists()


def test_without_containment_the_user_can_allow_it(without_containment, monkeypatch, capfd):
    monkeypatch.setenv("EXPERT_ITER_ALLOW_UNSANDBOXED_CODE", "1")
    results = [run("import os; print(os.listdir())", Limits(seconds=30)) for _ in range(2)]
    assert [result.output for result in results] == [b"[]\n"] * 2
    assert capfd.readouterr().err.count("without a sandbox") == 1
    assert run("while True: pass", Limits(seconds=1)).ended == "time"


def test_a_containment_that_does_not_work_is_not_available(monkeypatch, tmp_path):
    (tmp_path / "bwrap").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not containment.works.__wrapped__("bubblewrap")
