"""Checkpoints: written whole or not at all, checked when read, the newest good one first.

    checkpoints/
      000012.0/          position 12, the first attempt at it (a resumed run may save it again)
        arrays/          Orbax, one item for each top-level entry, so that one can be read alone
        manifest.json    the caller's meta, every array's dtype and shape, every file's SHA-256
      tmp.000013.0/      being written, or left behind by a process that was killed

Only a complete directory ever gets a name without `tmp.`, so whatever is wrong inside one is damage
and is never taken for a fresh start. All use of Orbax is in this file.
"""

import contextlib
import errno
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
from expert_iter.pod import manifest
from expert_iter.pod.workdir import sync

Arrays = dict[str, Any]  # nested dicts, arrays at the leaves

_ARRAYS = "arrays"
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


class Checkpoints:
    """The checkpoints of one run; one process writes, any number may read.

    Args:
      directory: where they are; made at the first save.
      keep: how many are kept, the newest first. With two, one that gets damaged on disk still
        leaves one to go back to.
    """

    def __init__(self, directory: str | os.PathLike, keep: int = 2):
        if keep < 1:
            raise ValueError(f"keep must be at least 1, not {keep}")
        self._directory = Path(directory).absolute()
        self._keep = keep

    def positions(self) -> list[int]:
        """Positions on disk, ascending; only restoring one tells whether it is good."""
        return sorted({saved.position for saved in self._saved()})

    def save(self, position: int, arrays: Arrays, meta: Mapping[str, Any]) -> None:
        """Saves `arrays` and `meta` as `position`; returns once they are on the disk.

        A position that is there already is replaced. Later ones are removed: this run did not go on
        from them, so they were damaged.

        Args:
          position: how far the run has come, in the caller's units; 0 or more.
          arrays: nested dicts of JAX or NumPy arrays (random keys as their key data), of any
            shapes, which may change from save to save. Top-level keys are plain names.
          meta: JSON values.

        Raises:
          UserError: it could not be written (a full disk, say); older checkpoints stay as they are.
        """
        arrays = jax.tree.map(np.asarray, jax.device_get(arrays))
        content = {"position": position, "meta": meta, "arrays": _describe(arrays)}
        json.dumps(
            content
        )  # what is not JSON is the caller's mistake, and no trouble with the disk
        older = self._saved()
        attempts = [saved.attempt for saved in older if saved.position == position]
        final = self._directory / f"{position:06d}.{max(attempts, default=-1) + 1}"
        staging = final.with_name(_TEMPORARY + final.name)
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._remove_temporary()
            staging.mkdir()
            _require_room(staging, arrays)
            _write(staging / _ARRAYS, arrays)
            manifest.seal(staging, content)
            os.rename(staging, final)
            sync(self._directory)
        except Exception as error:  # Orbax raises many types, and names none of them
            shutil.rmtree(staging, ignore_errors=True)
            stays = f"checkpoint {older[-1].position} stays" if older else "there is none before it"
            raise UserError(
                f"checkpoint {position} could not be saved in {self._directory}: "
                f"{_reason(error)}; {stays}. Mend that and run the same command again"
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
          only: the one top-level entry to check and read; all of them by default.

        Raises:
          UserError: there are checkpoints but no good one, or none at `position`.
        """
        damaged = []
        for saved in reversed(self._saved()):
            if position not in (None, saved.position):
                continue
            try:
                restored = _restore(saved.path, only)
            except manifest.Damaged as error:
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
                f"damaged: {', '.join(damaged)}, and there is no other to go back to; "
                "restore it from a copy, or start again in another --workdir"
            )
        if position is not None:
            there = ", ".join(map(str, self.positions())) or "none"
            raise UserError(f"no checkpoint {position} in {self._directory}; there are: {there}")
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
        # Renamed first: a kill half-way must not leave what looks like a damaged checkpoint.
        os.rename(path, path.with_name(_TEMPORARY + path.name))
        self._remove_temporary()

    def _remove_temporary(self) -> None:
        for path in self._directory.glob(_TEMPORARY + "*"):
            shutil.rmtree(path, ignore_errors=True)


def _restore(directory: Path, only: str | None) -> Restored:
    content = manifest.unseal(directory)
    described = content["arrays"]
    entries = described if only is None else {only: described[only]}
    others = tuple(f"{_ARRAYS}/{name}/" for name in described if name not in entries)
    manifest.check(directory, content, wanted=lambda file: not file.startswith(others))
    try:
        arrays = _with_empty(entries, _read(directory / _ARRAYS, entries))
    except Exception as error:
        raise manifest.Damaged(_reason(error)) from error
    return Restored(content["position"], arrays, content["meta"])


def _write(directory: Path, arrays: Arrays) -> None:
    full = _without_empty(arrays)
    items = {name: ocp.args.PyTreeSave({name: entry}) for name, entry in full.items()}
    if items:
        with _silence(), ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
            checkpointer.save(directory, args=ocp.args.Composite(**items))


def _read(directory: Path, entries: Mapping[str, Any]) -> Arrays:
    items = {name: ocp.args.PyTreeRestore() for name in entries if (directory / name).is_dir()}
    if not items:
        return {}
    with _silence(), ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        restored = checkpointer.restore(directory, args=ocp.args.Composite(**items))
    return {name: restored[name][name] for name in items}


# Orbax stores neither empty arrays nor empty dicts: these live in the manifest's description.


def _describe(tree: Any) -> Any:
    """The tree with `[dtype, shape]` for each array."""
    if isinstance(tree, np.ndarray):
        return [str(tree.dtype), list(tree.shape)]
    if not isinstance(tree, dict) or not all(isinstance(key, str) for key in tree):
        raise TypeError(f"a checkpoint holds arrays and dicts with strings for keys, not {tree!r}")
    return {key: _describe(value) for key, value in tree.items()}


def _without_empty(tree: Arrays) -> Arrays:
    full = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            value = _without_empty(value)
        if value != {} if isinstance(value, dict) else value.size:
            full[key] = value
    return full


def _with_empty(described: Any, full: Any) -> Any:
    """The inverse of `_without_empty`, given what `_describe` said of the tree."""
    if isinstance(described, dict):
        return {key: _with_empty(value, full.get(key, {})) for key, value in described.items()}
    dtype, shape = described
    return np.zeros(shape, dtype) if 0 in shape else full


def _require_room(directory: Path, arrays: Arrays) -> None:
    """Raises OSError if the disk has no room for `arrays`.

    Orbax notices that itself, but while its other threads go on writing, with tracebacks on stderr.
    """
    size = sum(array.nbytes for array in jax.tree.leaves(arrays)) + _OVERHEAD * (1 + len(arrays))
    if shutil.disk_usage(directory).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


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
    """A few words for what may be many lines about the inside of a storage library."""
    text = " ".join(str(error).split())
    for known in map(os.strerror, (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)):
        if known in text:
            return known
    return text if len(text) <= 200 else f"{text[:200]}…"
