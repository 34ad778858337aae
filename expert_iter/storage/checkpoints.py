"""Checkpoints: written whole or not at all, checked when read, the newest good one first.

    checkpoints/
      000012.0/          position 12, the first attempt at it (a resumed run may save it again)
        arrays/          Orbax, one item for each top-level entry, so that one can be read alone
        shares/          3.npz: arrays that process 3 alone has
        manifest.json    the caller's meta, every array's dtype and shape, every file's SHA-256
      tmp.000013.0/      being written, or left behind by a process that was killed

Only a complete directory ever gets a name without `tmp.`, so whatever is wrong inside one is damage
and is never taken for a fresh start. Object stores (gs://) cannot rename: there a directory counts
from when it has a manifest, which is written last.

Arrays are copied to the host at once and written by a thread while the run goes on; each process
writes what its devices hold. All use of Orbax is in this file.
"""

import contextlib
import errno
import io
import json
import logging
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from expert_iter.errors import UserError
from expert_iter.pod import processes
from expert_iter.storage import manifest
from expert_iter.storage.files import absolute, is_local, sync

Arrays = dict[str, Any]  # nested dicts, arrays at the leaves

_ARRAYS, _SHARES = "arrays", "shares"
_TEMPORARY = "tmp."
_OVERHEAD = 64 * 1024  # bytes of index and metadata that Orbax writes for an item, rounded up


class Restored(NamedTuple):
    """A checkpoint read back: `arrays` are host NumPy, whatever devices they were saved from,
    unless they were asked for on devices; `shares` those of each process that saved.
    """

    position: int
    arrays: Arrays
    meta: dict[str, Any]
    shares: list[dict[str, np.ndarray]]


class _Saved(NamedTuple):
    position: int
    attempt: int
    path: epath.Path


class Checkpoints:
    """The checkpoints of one run; the processes of one run write, any number may read.

    Args:
      directory: where they are, on a disk that all processes see, or gs://bucket/path; made at the
        first save.
      keep: how many are kept, the newest first. With two, one that gets damaged on disk still
        leaves one to go back to.
    """

    def __init__(self, directory: str | os.PathLike, keep: int = 2):
        if keep < 1:
            raise ValueError(f"keep must be at least 1, not {keep}")
        self._directory = absolute(directory)
        self._keep = keep
        self._saving: _Saving | None = None

    def positions(self) -> list[int]:
        """Positions on disk, ascending; only restoring one tells whether it is good."""
        return sorted({saved.position for saved in self._saved()})

    def listed(self) -> str:
        """The positions for people: `3, 7, 8`, or `none`."""
        return ", ".join(map(str, self.positions())) or "none"

    def newest_meta(self) -> dict[str, Any] | None:
        """The meta of the newest checkpoint whose manifest is good, whatever its arrays are; None
        if there is no such. The arrays are not read.
        """
        for saved in reversed(self._saved()):
            with contextlib.suppress(manifest.Damaged):
                return manifest.unseal(saved.path)["meta"]
        return None

    def save(
        self,
        position: int,
        arrays: Arrays,
        meta: Mapping[str, Any],
        share: Mapping[str, np.ndarray] | None = None,
        best: int | None = None,
    ) -> None:
        """`start_saving`, and wait until it is done."""
        self.start_saving(position, arrays, meta, share, best)
        self.finish()

    def start_saving(
        self,
        position: int,
        arrays: Arrays,
        meta: Mapping[str, Any],
        share: Mapping[str, np.ndarray] | None = None,
        best: int | None = None,
    ) -> None:
        """Saves `arrays` and `meta` as `position`, writing while the caller goes on; `finish`, or
        the next save, waits until they are on the disk. All processes call this.

        A position that is there already is replaced. Later ones are removed: this run did not go on
        from them, so they were damaged.

        Args:
          position: how far the run has come, in the caller's units; 0 or more.
          arrays: nested dicts of JAX or NumPy arrays (random keys as their key data), of any
            shapes, which may change from save to save. Top-level keys are plain names. NumPy
            arrays are the same on all processes.
          meta: JSON values, the same on all processes.
          share: arrays that only this process has.
          best: a position that is kept however old it gets.

        Raises:
          UserError: this or the last one could not be written (a full disk, say); older checkpoints
            stay as they are.
        """
        self.finish()
        arrays = jax.tree.map(_snapshot, arrays)
        content = {"position": position, "meta": meta, "arrays": _describe(arrays)}
        content["shares"] = processes.count() if share is not None else 0
        # As it is now: the caller goes on. What is not JSON is its mistake, and no trouble with the
        # disk.
        content = json.loads(json.dumps(content))
        older = self._saved()
        attempts = [saved.attempt for saved in older if saved.position == position]
        name = processes.every(f"{position:06d}.{max(attempts, default=-1) + 1}")[0]
        final = self._directory / name
        staging = self._directory / (_TEMPORARY + name) if is_local(final) else final
        self._saving = _Saving(position, older, staging)
        try:
            if processes.is_primary():
                self._directory.mkdir(parents=True, exist_ok=True)
                self._remove_unfinished()
                (staging / _SHARES).mkdir(parents=True)
            processes.every(None)  # there is a directory to write to
            if is_local(staging):
                _require_room(staging, arrays)
            write = _start_writing(staging / _ARRAYS, arrays)
        except Exception as error:  # Orbax raises many types, and names none of them
            self._give_up(error)

        def complete():
            write()
            if share is not None:
                _write_share(staging / _SHARES / f"{processes.index()}.npz", share)
            processes.meet(f"written {name}")
            if processes.is_primary():
                manifest.seal(staging, content)
                if staging != final:
                    os.rename(staging, final)
                    sync(self._directory)
                before = [saved for saved in older if saved.position < position]
                kept = before[::-1][: self._keep - 1]
                kept += [saved for saved in before if saved.position == best]
                for saved in older:
                    if saved not in kept:
                        self._remove(saved.path)

        self._saving.start(complete)

    def finish(self) -> None:
        """Waits for the save under way, if any; raises what `start_saving` says."""
        if self._saving is not None:
            error = self._saving.result()
            if error is not None:
                self._give_up(error)
            self._saving = None

    def _give_up(self, error: Exception) -> None:
        saving, self._saving = self._saving, None
        if processes.died_with_a_peer(error):
            raise error
        if processes.is_primary():
            with contextlib.suppress(OSError):
                saving.staging.rmtree()
        older = saving.older
        stays = f"checkpoint {older[-1].position} stays" if older else "there is none before it"
        raise UserError(
            f"checkpoint {saving.position} could not be saved in {self._directory}: "
            f"{_reason(error)}; {stays}. Mend that and run the same command again"
        ) from error

    def restore(
        self,
        position: int | None = None,
        only: str | None = None,
        like: Arrays | None = None,
    ) -> Restored | None:
        """Reads the newest good checkpoint, or the one at `position`; None if there is none at all.
        Where there are several processes, all call this, and all read the same one.

        A damaged one is passed over with a line on stderr.

        Args:
          only: the one top-level entry to check and read; all of them, and the shares, by default.
          like: top-level entries that are to come back on devices: `jax.ShapeDtypeStruct`s with
            shardings, in the structure that was saved.

        Raises:
          UserError: there are checkpoints but no good one, or none at `position`.
        """
        damaged = []
        names = [
            saved.path.name
            for saved in reversed(self._saved())
            if position in (None, saved.position)
        ]
        for name in processes.every(names)[0]:
            number = int(name.partition(".")[0])
            restored, problem = _restore(self._directory / name, only, like or {})
            if restored is None:
                damaged.append(f"checkpoint {number} in {self._directory} ({problem})")
                continue
            if damaged and processes.is_primary():
                print(
                    f"damaged: {', '.join(damaged)}; going back to checkpoint {number}, "
                    "the last good one",
                    file=sys.stderr,
                )
            return restored
        if damaged and position is not None:
            raise UserError(
                f"damaged: {', '.join(damaged)}; name another one, there are: {self.listed()}"
            )
        if damaged:
            raise UserError(
                f"damaged: {', '.join(damaged)}, and there is no other to go back to; "
                "restore it from a copy, or start again in another --workdir"
            )
        if position is not None:
            raise UserError(
                f"no checkpoint {position} in {self._directory}; there are: {self.listed()}"
            )
        return None

    def _saved(self) -> list[_Saved]:
        """Complete checkpoints, oldest position first, and of one position the oldest attempt.
        Raises UserError where a file has their directory's name.
        """
        found = []
        if self._directory.exists() and not self._directory.is_dir():
            raise UserError(
                f"{self._directory} is in the way of the checkpoints; move it, or give another "
                "--workdir"
            )
        for path in self._directory.iterdir() if self._directory.exists() else ():
            position, _, attempt = path.name.partition(".")
            whole = is_local(path) or manifest.is_sealed(path)
            if position.isdecimal() and attempt.isdecimal() and whole:
                found.append(_Saved(int(position), int(attempt), path))
        return sorted(found)

    def _remove(self, path: epath.Path) -> None:
        # First what makes it count: a kill half-way must not leave what looks like a damaged one.
        if is_local(path):
            os.rename(path, path.parent / (_TEMPORARY + path.name))
            self._remove_unfinished()
        else:
            manifest.remove(path)
            path.rmtree()

    def _remove_unfinished(self) -> None:
        whole = {saved.path.name for saved in self._saved()}
        for path in self._directory.iterdir():
            if path.name not in whole:
                shutil.rmtree(path, ignore_errors=True) if is_local(path) else path.rmtree()


class _Saving:
    """One save under way."""

    def __init__(self, position: int, older: list[_Saved], staging: epath.Path):
        self.position, self.older, self.staging = position, older, staging
        self._error: Exception | None = None
        self._thread: threading.Thread | None = None

    def start(self, work: Callable[[], None]) -> None:
        def run():
            try:
                work()
            except Exception as error:  # Orbax raises many types, and names none of them
                self._error = error

        self._thread = threading.Thread(target=run, name="checkpoint")
        self._thread.start()

    def result(self) -> Exception | None:
        """What went wrong, if anything; waits for the end."""
        if self._thread is not None:
            self._thread.join()
        return self._error


def _restore(directory: epath.Path, only: str | None, like: Arrays):
    """What was saved there, or None and what is wrong with it; the same on all processes."""
    restored = problem = None
    if processes.is_primary():
        try:
            content = manifest.unseal(directory)
            others = [name for name in content["arrays"] if only not in (None, name)]
            unwanted = tuple(f"{_ARRAYS}/{name}/" for name in others)
            unwanted += (f"{_SHARES}/",) if only else ()
            manifest.check(directory, content, wanted=lambda file: not file.startswith(unwanted))
        except manifest.Damaged as error:
            problem = str(error)
    problem = processes.every(problem)[0]
    if problem is None:
        try:
            restored = _read(directory, only, like)
        except Exception as error:
            problem = _reason(error)
        problem = next(filter(None, processes.every(problem)), None)
    return (restored, None) if problem is None else (None, problem)


def _read(directory: epath.Path, only: str | None, like: Arrays) -> Restored:
    content = manifest.unseal(directory)
    described = content["arrays"]
    entries = described if only is None else {only: described[only]}
    arrays = _with_empty(entries, _read_arrays(directory / _ARRAYS, entries, like))
    shares = range(0 if only else content.get("shares", 0))
    return Restored(
        content["position"],
        arrays,
        content["meta"],
        [_read_share(directory / _SHARES / f"{number}.npz") for number in shares],
    )


def _write_share(path: epath.Path, share: Mapping[str, np.ndarray]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **share)
    path.write_bytes(buffer.getvalue())


def _read_share(path: epath.Path) -> dict[str, np.ndarray]:
    return dict(np.load(io.BytesIO(path.read_bytes())))


def _snapshot(array: Any) -> Any:
    """What will still be there when the caller has changed or given away its own."""
    if isinstance(array, jax.Array):
        # Orbax copies from other devices to the host before it returns; here that is no copy.
        on_host = next(iter(array.devices())).platform == "cpu"
        return array.copy() if on_host else array
    return np.array(array)


def _start_writing(directory: epath.Path, arrays: Arrays) -> Callable[[], None]:
    """Returns what waits for the end."""
    full = _without_empty(arrays)
    items = {name: ocp.args.PyTreeSave({name: entry}) for name, entry in full.items()}
    if not items:
        return lambda: None
    checkpointer = ocp.AsyncCheckpointer(ocp.CompositeCheckpointHandler())
    with _silence():
        checkpointer.save(directory, args=ocp.args.Composite(**items))

    def finish():
        with _silence():
            checkpointer.wait_until_finished()
            checkpointer.close()

    return finish


def _read_arrays(directory: epath.Path, entries: Mapping[str, Any], like: Arrays) -> Arrays:
    """`entries` as `_describe` has them."""
    there = {name: entry for name, entry in entries.items() if (directory / name).is_dir()}
    if not there:
        return {}

    def how(name):
        if name not in like:
            return jax.tree.map(
                lambda _: ocp.RestoreArgs(restore_type=np.ndarray),
                _without_none(there[name]),
                is_leaf=_is_description,
            )
        return jax.tree.map(
            lambda x: ocp.ArrayRestoreArgs(sharding=x.sharding, dtype=x.dtype), like[name]
        )

    items = {name: ocp.args.PyTreeRestore(restore_args={name: how(name)}) for name in there}
    with _silence(), ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        restored = checkpointer.restore(directory, args=ocp.args.Composite(**items))
    return {name: restored[name][name] for name in items}


# Orbax stores neither empty arrays nor empty dicts: these live in the manifest's description.


def _describe(tree: Any) -> Any:
    """The tree with `[dtype, shape]` for each array."""
    if isinstance(tree, np.ndarray | jax.Array):
        return [str(tree.dtype), list(tree.shape)]
    if not isinstance(tree, dict) or not all(isinstance(key, str) for key in tree):
        raise TypeError(f"a checkpoint holds arrays and dicts with strings for keys, not {tree!r}")
    return {key: _describe(value) for key, value in tree.items()}


def _is_description(entry: Any) -> bool:
    return isinstance(entry, list)


def _without_none(described: Any) -> Any:
    """A description without what is not stored."""
    if _is_description(described):
        return described
    inner = {key: _without_none(value) for key, value in described.items()}
    stored = lambda v: 0 not in v[1] if _is_description(v) else v != {}  # noqa: E731
    return {key: value for key, value in inner.items() if stored(value)}


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


def _require_room(directory: epath.Path, arrays: Arrays) -> None:
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
