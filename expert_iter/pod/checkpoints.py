"""Checkpoints: written whole or not at all, checked when read, the newest good one first.

    checkpoints/
      000012.0/          position 12, the first attempt at it (a resumed run may save it again)
        arrays/          Orbax, one item for each top-level entry, so that one can be read alone
        manifest.json    the caller's meta, every array's dtype and shape, every file's SHA-256
      tmp.000013.0/      being written, or left behind by a process that was killed

Only a complete directory ever gets a name without `tmp.`, so whatever is wrong inside one is damage
and is never mistaken for a fresh start. All use of Orbax is in this file.
"""

import contextlib
import errno
import hashlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from expert_iter.errors import UserError
from expert_iter.pod.workdir import sync, write_atomic

Arrays = dict[str, Any]  # nested dicts, arrays at the leaves

_ARRAYS = "arrays"
_MANIFEST = "manifest.json"
_TEMPORARY = "tmp."
_OVERHEAD = 64 * 1024  # bytes of index and metadata that Orbax writes for an item, rounded up


class Restored(NamedTuple):
    """A checkpoint read back: `arrays` are host NumPy, whatever devices they were saved from."""

    position: int
    arrays: Arrays
    meta: dict[str, Any]


class _Saved(NamedTuple):
    position: int
    attempt: int
    path: Path


class _Damaged(Exception):
    """Says in a few words what is wrong with one checkpoint."""


class Checkpoints:
    """The checkpoints of one run; one process writes, any number may read.

    Args:
      directory: where they are; made at the first save.
      keep: how many positions are kept, the newest first. With two, one that is damaged on disk
        still leaves one to go back to.
    """

    def __init__(self, directory: str | os.PathLike, keep: int = 2):
        if keep < 1:
            raise ValueError(f"keep must be at least 1, not {keep}")
        self._directory = Path(directory).absolute()
        self._keep = keep

    def positions(self) -> list[int]:
        """Positions on disk, ascending; they are not checked before they are restored."""
        return sorted({saved.position for saved in self._saved()})

    def save(self, position: int, arrays: Arrays, meta: Mapping[str, Any]) -> None:
        """Saves `arrays` and `meta` as `position`; returns once they are on disk.

        A save of a position that is there already replaces it. Later positions are removed: they
        belong to a past that this run did not go on from.

        Args:
          position: how far the run has come, in the caller's units; 0 or more.
          arrays: nested dicts of JAX or NumPy arrays (random keys as their key data), any shapes,
            which may change from save to save. Top-level keys are plain identifiers.
          meta: JSON values.

        Raises:
          UserError: it could not be written (a full disk, say); older checkpoints stay as they are.
        """
        arrays = jax.tree.map(np.asarray, jax.device_get(arrays))
        manifest = {"position": position, "meta": meta, "arrays": _describe(arrays)}
        json.dumps(manifest)  # a meta that is not JSON is the caller's mistake: before any writing
        older = self._saved()
        attempt = 1 + max(
            (saved.attempt for saved in older if saved.position == position), default=-1
        )
        final = self._directory / f"{position:06d}.{attempt}"
        staging = final.with_name(_TEMPORARY + final.name)
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._remove_temporary()
            staging.mkdir()
            _require_room(staging, arrays)
            _write_arrays(staging / _ARRAYS, arrays)
            manifest["files"] = {
                str(path.relative_to(staging)): _sha256(path) for path in _sync_tree(staging)
            }
            _write_manifest(staging / _MANIFEST, manifest)
            os.rename(staging, final)
            sync(self._directory)
        except Exception as error:
            shutil.rmtree(staging, ignore_errors=True)
            kept = f"checkpoint {older[-1].position} stays" if older else "there is none before it"
            raise UserError(
                f"checkpoint {position} could not be saved in {self._directory}: "
                f"{_reason(error)}; {kept}. Mend that and run the same command again"
            ) from error

        before = [saved for saved in older if saved.position < position]
        kept = before[::-1][: self._keep - 1]
        for saved in older:
            if saved not in kept:
                self._remove(saved.path)

    def restore(self, position: int | None = None, only: str | None = None) -> Restored | None:
        """Reads the newest good checkpoint, or the one at `position`; None if there is none at all.

        A damaged one is passed over with a line on stderr.

        Args:
          only: the one top-level entry to read and check; all of them by default.

        Raises:
          UserError: there are checkpoints but no good one, or none at `position`.
        """
        wanted = [saved for saved in self._saved() if position in (None, saved.position)]
        damaged = []
        for saved in reversed(wanted):
            try:
                restored = _read(saved.path, only)
            except _Damaged as error:
                damaged.append(f"checkpoint {saved.position} in {self._directory} ({error})")
                continue
            if damaged:
                print(
                    f"damaged: {', '.join(damaged)}; going back to checkpoint {saved.position}, "
                    "the last good one",
                    file=sys.stderr,
                )
            return restored
        if damaged:
            raise UserError(
                f"no checkpoint is left to go on from; damaged: {', '.join(damaged)}. "
                "Restore them from a copy, or start again in another --workdir"
            )
        if position is not None:
            raise UserError(
                f"there is no checkpoint {position} in {self._directory}; "
                f"there are: {', '.join(map(str, self.positions())) or 'none'}"
            )
        return None

    def _saved(self) -> list[_Saved]:
        """Complete checkpoints, oldest position first, and of one position the oldest attempt."""
        found = []
        for path in self._directory.glob("*.*"):
            position, _, attempt = path.name.partition(".")
            if position.isdecimal() and attempt.isdecimal():
                found.append(_Saved(int(position), int(attempt), path))
        return sorted(found)

    def _remove(self, path: Path) -> None:
        # Renamed first, so that a kill half-way does not leave what looks like a damaged one.
        os.rename(path, path.with_name(_TEMPORARY + path.name))
        self._remove_temporary()

    def _remove_temporary(self) -> None:
        for path in self._directory.glob(_TEMPORARY + "*"):
            shutil.rmtree(path, ignore_errors=True)


def _read(path: Path, only: str | None) -> Restored:
    """Reads one checkpoint directory, every file checked first; raises _Damaged."""
    manifest = _read_manifest(path / _MANIFEST)
    entries = manifest["arrays"] if only is None else {only: manifest["arrays"][only]}
    others = {f"{_ARRAYS}/{name}/" for name in manifest["arrays"] if name not in entries}
    for name, digest in manifest["files"].items():
        if any(name.startswith(other) for other in others):
            continue
        try:
            if _sha256(path / name) != digest:
                raise _Damaged(f"{name} is not as it was written")
        except OSError as error:
            raise _Damaged(f"{name}: {error.strerror}") from None
    try:
        arrays = _read_arrays(path / _ARRAYS, entries)
    except Exception as error:  # Orbax raises many types, and names none of them
        raise _Damaged(_reason(error)) from error
    return Restored(manifest["position"], arrays, manifest["meta"])


# The manifest is a JSON object `{"sha256": …, "manifest": {…}}`, the digest of the second's text.


def _write_manifest(path: Path, manifest: dict[str, Any]) -> None:
    digest = hashlib.sha256(json.dumps(manifest).encode()).hexdigest()
    write_atomic(path, json.dumps({"sha256": digest, "manifest": manifest}))


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        sealed = json.loads(path.read_bytes())
        manifest = sealed["manifest"]
        intact = hashlib.sha256(json.dumps(manifest).encode()).hexdigest() == sealed["sha256"]
    except OSError as error:
        raise _Damaged(f"{path.name}: {error.strerror}") from None
    except (ValueError, TypeError, KeyError):  # not text, not JSON, not this JSON
        intact = False
    if not intact:
        raise _Damaged(f"{path.name} is not as it was written")
    return manifest


# Orbax stores no empty arrays and no empty dicts: those live in the manifest's description only.


def _write_arrays(directory: Path, arrays: Arrays) -> None:
    items = {
        name: ocp.args.PyTreeSave({name: tree}) for name, tree in _without_empty(arrays).items()
    }
    if not items:
        return
    with _silence(), ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        checkpointer.save(directory, args=ocp.args.Composite(**items))


def _read_arrays(directory: Path, entries: dict[str, Any]) -> Arrays:
    items = {name: ocp.args.PyTreeRestore() for name in entries if (directory / name).is_dir()}
    stored = {}
    if items:
        with _silence(), ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
            restored = checkpointer.restore(directory, args=ocp.args.Composite(**items))
        stored = {name: restored[name][name] for name in items}
    return _with_empty(entries, stored)


def _require_room(directory: Path, arrays: Arrays) -> None:
    """Raises OSError if the disk has no room for `arrays`.

    Orbax notices that itself, but while its other threads go on writing, with tracebacks on stderr.
    """
    size = sum(array.nbytes for array in jax.tree.leaves(arrays)) + _OVERHEAD * (1 + len(arrays))
    if shutil.disk_usage(directory).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _describe(tree: Any) -> Any:
    """The tree with `[dtype, shape]` in each array's place."""
    if not isinstance(tree, dict):
        return [str(tree.dtype), list(tree.shape)]
    if not all(isinstance(key, str) for key in tree):
        raise TypeError(f"checkpointed dicts need strings for keys, not {list(tree)}")
    return {key: _describe(value) for key, value in tree.items()}


def _without_empty(tree: Arrays) -> Arrays:
    kept = {}
    for key, value in tree.items():
        value = _without_empty(value) if isinstance(value, dict) else value
        if len(value) if isinstance(value, dict) else value.size:
            kept[key] = value
    return kept


def _with_empty(description: Any, stored: Any) -> Any:
    """The inverse of `_without_empty`, given what `_describe` said before it."""
    if isinstance(description, dict):
        return {key: _with_empty(value, stored.get(key, {})) for key, value in description.items()}
    dtype, shape = description
    if 0 in shape:
        return np.zeros(shape, dtype)
    if (str(stored.dtype), list(stored.shape)) != (dtype, shape):
        raise ValueError(f"an array is {stored.dtype}{stored.shape} and was {dtype}{shape}")
    return stored


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keeps Orbax from logging, tracebacks of its threads included: what matters it also raises."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


def _reason(error: Exception) -> str:
    """One short line for an error that may be many lines of a storage library's internals."""
    text = " ".join(str(error).split())
    for known in map(os.strerror, (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)):
        if known in text:
            return known
    return text if len(text) <= 200 else f"{text[:200]}…"


def _sync_tree(directory: Path) -> list[Path]:
    """Waits until all below `directory` is on disk; returns the files."""
    paths = sorted(directory.rglob("*"))
    for path in [*paths, directory]:
        sync(path)
    return [path for path in paths if path.is_file()]


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
