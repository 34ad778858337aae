"""Runs inside the containment, as `python -c`: drops all privileges, then runs the program.

It cannot import the package, and imports few modules, so that a start is fast.
"""

import ctypes
import os
import resource
import sys

_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _SECCOMP_MODE_FILTER = 22, 38, 2
_CAPABILITY_VERSION_3 = 0x20080522


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _drop_privileges(user: int, seccomp: bytes) -> None:
    """Becomes `user` (0: keeps the user), drops capabilities, and installs a seccomp filter."""
    libc = ctypes.CDLL(None, use_errno=True)
    if user:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    _check(libc.capset(header, (ctypes.c_uint32 * 6)()))
    _check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    if seccomp:
        code = ctypes.create_string_buffer(seccomp, len(seccomp))
        # struct sock_fprog: a count of instructions and, aligned, their address.
        program = (ctypes.c_size_t * 2)(len(seccomp) // 8, ctypes.addressof(code))
        _check(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program, 0, 0))


def _limit(limits: str) -> None:
    """Sets limits, given as "NAME=NUMBER,..." with the names of `resource.RLIMIT_...`."""
    for limit in limits.split(","):
        name, number = limit.split("=")
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        number = int(number) if hard == resource.RLIM_INFINITY else min(int(number), hard)
        resource.setrlimit(kind, (number, number))


def main() -> None:
    program, user, limits, seccomp = sys.argv[1:5]
    with os.fdopen(int(program), "rb") as file:
        source = file.read()
    code = compile(source, "program", "exec")
    _drop_privileges(int(user), bytes.fromhex(seccomp))
    _limit(limits)
    sys.argv[:5] = ["program"]
    exec(code, {"__name__": "__main__", "__builtins__": __builtins__})


if __name__ == "__main__":
    main()
