"""Runs as `python -c`: makes the namespaces and the file tree, then starts child.py in them.

There are three processes: this one; its child, the first process of the new pid namespace, whose
end ends all others there; and its child, the program. The first two only wait. This file cannot
import the package.
"""

import ctypes
import json
import os
import sys
from typing import NoReturn

_CLONE_NEWNS, _CLONE_NEWUTS, _CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
_CLONE_NEWUSER, _CLONE_NEWPID, _CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_REMOUNT = 1, 2, 4, 32
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18
_MNT_DETACH = 2
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4
_SIGKILL = 9  # a number, because importing `signal` would lengthen each start
_KEPT_FLAGS = os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC  # equal to the MS_ flags of these names
_OLD = "/.outside"  # where the outside's root is while the tree is built

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def _mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    result = _libc.mount(
        source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()
    )
    _check(result, f"mount {target}")


def _end_with_parent() -> None:
    _check(_libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0), "prctl")


def _unshare(own_user: bool) -> None:
    """Makes new namespaces; with `own_user` also a user namespace, which all but root need."""
    flags = _CLONE_NEWNS | _CLONE_NEWPID | _CLONE_NEWNET | _CLONE_NEWIPC | _CLONE_NEWUTS
    user, group = os.geteuid(), os.getegid()
    _check(_libc.unshare(flags | (_CLONE_NEWUSER if own_user else 0)), "unshare")
    if own_user:
        for name, line in (
            ("setgroups", "deny"),
            ("uid_map", f"65534 {user} 1"),
            ("gid_map", f"65534 {group} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(line)
    _check(_libc.sethostname(b"sandbox", len("sandbox")), "sethostname")


def _place(path: str) -> None:
    """Makes an empty directory or file on which to mount the outside's `path`."""
    if os.path.isdir(_OLD + path):
        os.makedirs(path, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.close(os.open(path, os.O_CREAT, 0o644))


def _build_tree(mounts: dict, scratch_bytes: int) -> None:
    """Replaces the root by a new tree of `mounts` (see mounts.Mounts) and an empty /tmp."""
    os.umask(0o022)
    _mount("none", "/", "", _MS_REC | _MS_PRIVATE)
    _mount("tmpfs", "/tmp", "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=755,size=1m,nr_inodes=1k")
    os.mkdir("/tmp" + _OLD)
    os.chdir("/tmp")
    _check(_libc.pivot_root(b".", _OLD[1:].encode()), "pivot_root")
    os.chdir("/")
    for path in mounts["read_only"]:
        _place(path)
        _mount(_OLD + path, path, "", _MS_BIND | _MS_REC)
        kept = os.statvfs(path).f_flag & _KEPT_FLAGS
        flags = _MS_BIND | _MS_REMOUNT | _MS_RDONLY | _MS_NOSUID | _MS_NODEV
        _mount("none", path, "", flags | kept)
    for path in mounts["emptied"]:
        _mount("tmpfs", path, "tmpfs", _MS_RDONLY, "size=4k")
    for path in mounts["devices"]:
        _place(path)
        _mount(_OLD + path, path, "", _MS_BIND)
    for where, target in mounts["links"]:
        os.symlink(target, where)
    os.mkdir("/tmp")
    options = f"mode=1777,size={scratch_bytes},nr_inodes=4k"
    _mount("tmpfs", "/tmp", "tmpfs", _MS_NOSUID | _MS_NODEV, options)
    _check(_libc.umount2(_OLD.encode(), _MNT_DETACH), "umount2")
    os.rmdir(_OLD)
    _mount("none", "/", "", _MS_BIND | _MS_REMOUNT | _MS_RDONLY | _MS_NOSUID | _MS_NODEV)
    os.chdir("/tmp")


def _exit_as(process: int) -> NoReturn:
    """Waits for a child, and exits with its code, or 128 + the signal's number if killed."""
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    os._exit(code if code >= 0 else 128 - code)


def _first_process(ready: int) -> bool:
    """Forks the program. Returns True in the program, and never in the first process."""
    _end_with_parent()
    _check(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl")
    if os.read(ready, 1) != b"y":  # the parent ended before prctl asked for the signal
        os._exit(1)
    os.close(ready)
    program = os.fork()
    if program:
        os.closerange(0, 1024)  # so that readers see the end of the file when the program ends
        _exit_as(program)
    return True


def main() -> None:
    settings, child_source = json.loads(sys.argv[1]), sys.argv[2]
    _end_with_parent()
    if os.getppid() != settings["parent"]:
        os._exit(1)
    _unshare(settings["own_user"])
    _build_tree(settings["mounts"], settings["scratch_bytes"])
    ready, ready_write = os.pipe()
    process = os.fork()
    if process:
        os.write(settings["info"], json.dumps({"child-pid": process}).encode())
        os.write(ready_write, b"y")
        os.closerange(0, 1024)
        _exit_as(process)
    os.close(ready_write)
    os.close(settings["info"])
    if _first_process(ready):
        sys.argv[:3] = ["child"]
        exec(compile(child_source, "child", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    main()
