"""The files that a contained program can see: Python and its standard library, read-only."""

import functools
import os
import sys
import sysconfig
from pathlib import PurePosixPath
from typing import NamedTuple


class Mounts(NamedTuple):
    """What to mount. All paths are absolute and the same inside and outside.

    Attributes:
      read_only: directories and files to mount read-only.
      links: symbolic links to make, (path, target).
      emptied: directories inside read-only ones that appear empty.
      devices: device files.
      python: the interpreter.
    """

    read_only: tuple[str, ...]
    links: tuple[tuple[str, str], ...]
    emptied: tuple[str, ...]
    devices: tuple[str, ...]
    python: str

    def parents(self) -> list[str]:
        """The directories above the read-only paths and the devices, parents first."""
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
    """The running interpreter and what it loads; in a virtual environment, its base interpreter."""
    python = os.path.realpath(sys._base_executable)
    # Started by its real path, the interpreter finds its library below the real prefix.
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
