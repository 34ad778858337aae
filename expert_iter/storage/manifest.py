"""A directory's manifest: what its files must be, so that damage shows before anything is used.

`manifest.json` holds `{"sha256": …, "content": {…, "files": {name: sha256}}}`; the first digest is
that of the content's own text.
"""

import errno
import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from etils import epath

from expert_iter.storage.files import sync, write_atomic

_NAME = "manifest.json"
_THREADS = 8  # of hashing, which is what a large checkpoint's check takes its time for


class Damaged(Exception):
    """Says in a few words what is wrong with a directory."""


def seal(directory: epath.Path, content: dict[str, Any]) -> None:
    """Writes a manifest of `content` (JSON values) and of every file now in `directory`.

    All of it is on the disk, and not only on its way there, when this returns.
    """
    paths = sorted(_below(directory), key=str)
    for path in paths:
        sync(path)
    names = [str(path.relative_to(directory)) for path in paths if path.is_file()]
    with ThreadPoolExecutor(_THREADS) as threads:
        digests = threads.map(_sha256, [directory / name for name in names])
        content = content | {"files": dict(zip(names, digests, strict=True))}
    sealed = {"sha256": _digest(content), "content": content}
    write_atomic(directory / _NAME, json.dumps(sealed))


def unseal(directory: epath.Path) -> dict[str, Any]:
    """Reads the manifest's content; raises Damaged unless it is as it was written."""
    try:
        sealed = json.loads((directory / _NAME).read_bytes())
        content = sealed["content"]
        intact = _digest(content) == sealed["sha256"]
    except OSError as error:
        raise Damaged(f"{_NAME}: {os.strerror(error.errno or errno.EIO)}") from None
    except (ValueError, TypeError, KeyError):  # not text, not JSON, not this JSON
        intact = False
    if not intact:
        raise Damaged(f"{_NAME} is not as it was written")
    return content


def is_sealed(directory: epath.Path) -> bool:
    """Whether there is a manifest, good or bad."""
    return (directory / _NAME).exists()


def remove(directory: epath.Path) -> None:
    """Takes the manifest away: the directory no longer counts."""
    (directory / _NAME).unlink()


def check(directory: epath.Path, content: dict[str, Any], wanted: Callable[[str], bool]) -> None:
    """Raises Damaged unless every file whose name is `wanted` is as `content` says."""
    names = [name for name in content["files"] if wanted(name)]

    def problem(name: str) -> str | None:
        try:
            intact = _sha256(directory / name) == content["files"][name]
        except OSError as error:
            return f"{name}: {os.strerror(error.errno or errno.EIO)}"
        return None if intact else f"{name} is not as it was written"

    with ThreadPoolExecutor(_THREADS) as threads:
        for found in threads.map(problem, names):
            if found:
                raise Damaged(found)


def _below(directory: epath.Path) -> list[epath.Path]:
    found = []
    for path in directory.iterdir():
        found += [path, *(_below(path) if path.is_dir() else ())]
    return found


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _sha256(path: epath.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
