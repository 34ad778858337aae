"""Files on a local disk or in an object store such as gs://; writes are atomic."""

import importlib.util
import os
from pathlib import Path

from etils import epath

from expert_iter.errors import UserError

# By scheme: the package that an object store needs, and the command that installs it.
_DRIVERS = {
    "gs": ("gcsfs", "pip install 'expert_iter[gcs]'"),
    "s3": ("s3fs", "pip install s3fs"),
    "az": ("adlfs", "pip install adlfs"),
}


def path(name: str) -> Path | epath.Path:
    """The path that a user named, with `~` resolved.

    Raises:
      UserError: the object store is unknown, or its package is not installed.
    """
    if is_local(name):
        return Path(name).expanduser()
    scheme = name.partition("://")[0]
    if scheme not in _DRIVERS:
        known = ", ".join(f"{known}://" for known in _DRIVERS)
        raise UserError(f"{name}: {scheme}:// is not a known store; use one of {known}")
    package, install = _DRIVERS[scheme]
    if importlib.util.find_spec(package) is None:
        raise UserError(f"{name}: {scheme}:// needs the package {package}: {install}")
    return epath.Path(name)


def absolute(path: str | os.PathLike) -> epath.Path:
    """The absolute path, with `~` resolved. Paths in an object store do not change."""
    path = epath.Path(path)
    return epath.Path(os.path.abspath(path.expanduser())) if is_local(path) else path


def is_local(path: str | os.PathLike) -> bool:
    """Whether the path is on a disk, not in an object store."""
    return "://" not in os.fspath(path)


def write_atomic(path: str | os.PathLike, data: str | bytes) -> None:
    """Writes a file atomically: a reader, or a crash, finds the old content or the new.

    Raises:
      OSError: the disk is full or not writable. The old content stays.
    """
    path, data = epath.Path(path), data.encode() if isinstance(data, str) else data
    if not is_local(path):
        path.write_bytes(data)  # object stores write an object whole
        return
    # The process id keeps two writers from using the same temporary file.
    temporary = path.parent / f".{path.name}.{os.getpid()}.tmp"
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def sync(path: str | os.PathLike) -> None:
    """Waits until a file's content, or a directory's list of names, is on the disk (fsync)."""
    if not is_local(path):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
