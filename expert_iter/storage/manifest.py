"""A directory's manifest: checksums of its files, which show damage before a file is used.

`manifest.json` holds `{"sha256": ..., "content": {..., "files": {name: sha256}}}`. The first
checksum is that of the content's JSON text.
"""

import errno
import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from etils import epath

from expert_iter.storage.files import sync, write_atomic

_NAME = "manifest.json"
_THREADS = 8  # for hashing, which takes most of the time to check a large checkpoint


class Damaged(Exception):
    """A directory is not as its manifest describes it. The text names the file."""


def seal(directory: epath.Path, content: dict[str, Any]) -> None:
    """Writes a manifest of every file in `directory`; all of them are then synced to disk.

    Args:
      content: more JSON values to store, by key.
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
    """The manifest's content. Raises Damaged if it is missing or its checksum is wrong."""
    try:
        sealed = json.loads((directory / _NAME).read_bytes())
        content = sealed["content"]
        intact = _digest(content) == sealed["sha256"]
    except OSError as error:
        raise Damaged(f"{_NAME}: {os.strerror(error.errno or errno.EIO)}") from None
    except (ValueError, TypeError, KeyError):  # not text, not JSON, or without the two keys
        intact = False
    if not intact:
        raise Damaged(f"{_NAME} has the wrong checksum")
    return content


def is_sealed(directory: epath.Path) -> bool:
    """Whether there is a manifest, damaged or not."""
    return (directory / _NAME).exists()


def remove(directory: epath.Path) -> None:
    """Removes the manifest, so that the directory no longer counts as complete."""
    (directory / _NAME).unlink()


def check(directory: epath.Path, content: dict[str, Any], wanted: str | tuple[str, ...]) -> None:
    """Checks files against their checksums in `content`, which `unseal` returned.

    Args:
      wanted: what the names of the files to check begin with.

    Raises:
      Damaged: a file is missing or its checksum is wrong.
    """
    names = [name for name in content["files"] if name.startswith(wanted)]

    def problem(name: str) -> str | None:
        try:
            intact = _sha256(directory / name) == content["files"][name]
        except OSError as error:
            return f"{name}: {os.strerror(error.errno or errno.EIO)}"
        return None if intact else f"{name} has the wrong checksum"

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
