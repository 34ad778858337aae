"""What contained code sees of the machine's files: a Python without packages, read-only."""

import functools
import os
import sys
import sysconfig
from pathlib import PurePosixPath
from typing import NamedTuple


class Mounts(NamedTuple):
    """Absolute paths. A read-only path appears at the same place as outside."""

    read_only: tuple[str, ...]
    links: tuple[tuple[str, str], ...]  # (where, what it says)
    emptied: tuple[str, ...]  # directories within the read-only ones that are shown empty
    devices: tuple[str, ...]
    python: str

    def parents(self) -> list[str]:
        """The directories above the read-only paths and the devices, each after its own parent."""
        return sorted(
            {
                str(parent)
                for path in self.read_only + self.devices
                for parent in PurePosixPath(path).parents
                if parent != PurePosixPath("/")
            }
        )


@functools.cache
def python_mounts() -> Mounts:
    """The running interpreter (of a virtual environment: the one below), and what it loads."""
    python = os.path.realpath(sys._base_executable)
    # The interpreter is started by its real path, and so finds its library below the real prefix.
    prefix = os.path.dirname(os.path.dirname(python))
    wanted, links = [python, "/etc/ld.so.cache"], []
    for directory in ("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64"):
        if os.path.islink(directory):
            links.append((directory, os.readlink(directory)))
        else:
            wanted.append(directory)
    for base in dict.fromkeys((prefix, sys.base_prefix, sys.base_exec_prefix)):
        wanted += [os.path.join(base, "lib"), os.path.join(base, "lib64")]
    library = sysconfig.get_path("stdlib", vars={"installed_base": prefix})
    wanted.append(library)

    read_only = []
    for path in sorted({path for path in wanted if os.path.exists(path)}):
        inside = any(path.startswith(parent + "/") for parent in read_only)
        if not inside and not os.path.islink(path):
            read_only.append(path)
    emptied = [os.path.join(library, "site-packages"), "/usr/lib/python3/dist-packages"]
    return Mounts(
        tuple(read_only),
        tuple(links),
        tuple(path for path in emptied if os.path.isdir(path)),
        ("/dev/null", "/dev/urandom"),
        python,
    )
