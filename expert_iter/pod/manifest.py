"""A directory's manifest: what its files must be, so that damage shows before anything is used.

`manifest.json` holds `{"sha256": …, "content": {…, "files": {name: sha256}}}`; the first digest is
that of the content's own text.
"""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from expert_iter.pod.workdir import sync, write_atomic

_NAME = "manifest.json"


class Damaged(Exception):
    """Says in a few words what is wrong with a directory."""


def seal(directory: Path, content: dict[str, Any]) -> None:
    """Writes a manifest of `content` (JSON values) and of every file now in `directory`.

    All of it is on the disk, and not only on its way there, when this returns.
    """
    paths = sorted(directory.rglob("*"))
    for path in paths:
        sync(path)
    files = {str(path.relative_to(directory)): _sha256(path) for path in paths if path.is_file()}
    content = content | {"files": files}
    sealed = {"sha256": _digest(content), "content": content}
    write_atomic(directory / _NAME, json.dumps(sealed))


def unseal(directory: Path) -> dict[str, Any]:
    """Reads the manifest's content; raises Damaged unless it is as it was written."""
    try:
        sealed = json.loads((directory / _NAME).read_bytes())
        content = sealed["content"]
        intact = _digest(content) == sealed["sha256"]
    except OSError as error:
        raise Damaged(f"{_NAME}: {os.strerror(error.errno)}") from None
    except (ValueError, TypeError, KeyError):  # not text, not JSON, not this JSON
        intact = False
    if not intact:
        raise Damaged(f"{_NAME} is not as it was written")
    return content


def check(directory: Path, content: dict[str, Any], wanted: Callable[[str], bool]) -> None:
    """Raises Damaged unless every file whose name is `wanted` is as `content` says."""
    for name, digest in content["files"].items():
        if wanted(name):
            try:
                intact = _sha256(directory / name) == digest
            except OSError as error:
                raise Damaged(f"{name}: {os.strerror(error.errno)}") from None
            if not intact:
                raise Damaged(f"{name} is not as it was written")


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
