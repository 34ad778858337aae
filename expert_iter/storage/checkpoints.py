"""Checkpoints: written whole or not at all, checked when read, the newest good one first.

    checkpoints/
      000012.0/          position 12, the first attempt at it (a resumed run may save it again)
        arrays/ …        see checkpoint_files.py
      tmp.000013.0/      being written, or left behind by a process that was killed

Only a complete directory ever gets a name without `tmp.`, so whatever is wrong inside one is damage
and is never taken for a fresh start. Object stores (gs://) cannot rename: there a directory counts
from when it has a manifest, which is written last.

Arrays are written by a thread while the run goes on; each process writes what its devices hold.
"""

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from expert_iter.errors import UserError
from expert_iter.pod import collectives, processes
from expert_iter.pod.host_memory import release_freed_memory
from expert_iter.storage import checkpoint_files, manifest, orbax_arrays
from expert_iter.storage.checkpoint_files import Restored
from expert_iter.storage.files import absolute, is_local, sync
from expert_iter.storage.orbax_arrays import Arrays

_TEMPORARY = "tmp."


class _Saved(NamedTuple):
    """A complete checkpoint on the disk; a resumed run may save a position once more."""

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
        self._directory = absolute(directory)
        self._keep = keep
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._saving: Future | None = None

    def positions(self) -> list[int]:
        """Positions on disk, ascending; only restoring one tells whether it is good."""
        return sorted({saved.position for saved in self._saved()})

    def listed(self) -> str:
        """The positions as text: `3, 7, 8`, or `none`."""
        return ", ".join(map(str, self.positions())) or "none"

    def newest_meta(self) -> dict[str, Any] | None:
        """The meta of the newest checkpoint whose manifest is good, whatever its arrays are; None
        if there is no such. The arrays are not read.
        """
        for saved in reversed(self._saved()):
            with contextlib.suppress(manifest.Damaged):
                return manifest.unseal(saved.path)["meta"]
        return None

    def save(self, *args, **kwargs) -> None:
        """`start_saving`, then `finish`."""
        self.start_saving(*args, **kwargs)
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

        A position that exists already is replaced. Later ones are removed: this run did not resume
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
        arrays = orbax_arrays.snapshot(arrays)
        content = {"position": position, "meta": meta, "arrays": orbax_arrays.describe(arrays)}
        content["shares"] = processes.count() if share is not None else 0
        # A copy, because the caller may change meta while this is written. It is made here, so that
        # what is not JSON raises as the caller's mistake and not as a failure of the disk.
        content = json.loads(json.dumps(content))
        older = self._saved()
        attempts = [saved.attempt for saved in older if saved.position == position]
        name = collectives.all_gather(f"{position:06d}.{max(attempts, default=-1) + 1}")[0]
        final = self._directory / name
        staging = self._directory / (_TEMPORARY + name) if is_local(final) else final
        with self._or_give_up(position, older, staging):
            if processes.is_primary():
                self._directory.mkdir(parents=True, exist_ok=True)
                self._remove_unfinished()
                (staging / checkpoint_files.SHARES).mkdir(parents=True)
            collectives.all_gather(None)  # there is a directory to write to
            if is_local(staging):
                orbax_arrays.require_space(staging, arrays)
            write = orbax_arrays.start_writing(staging / checkpoint_files.ARRAYS, arrays)

        def complete():
            with self._or_give_up(position, older, staging):
                write()
                if share is not None:
                    checkpoint_files.write_share(staging, share)
                processes.barrier(f"written {name}")
                if processes.is_primary():
                    manifest.seal(staging, content)
                    if staging != final:
                        os.rename(staging, final)
                        sync(self._directory)
                    self._remove_all_but_newest(older, position, best)
            release_freed_memory()  # of the compressed arrays

        self._saving = self._thread.submit(complete)

    def _remove_all_but_newest(self, older: list[_Saved], position: int, best: int | None) -> None:
        before = [saved for saved in older if saved.position < position]
        kept = before[::-1][: self._keep - 1]
        kept += [saved for saved in before if saved.position == best]
        for saved in older:
            if saved not in kept:
                self._remove(saved.path)

    def finish(self) -> None:
        """Waits for the save under way, if any; raises what `start_saving` raises."""
        saving, self._saving = self._saving, None
        if saving is not None:
            saving.result()

    def before_donation(self) -> None:
        """Waits for the save under way if it reads the arrays on the devices, of which donation
        would make copies; raises what `start_saving` raises.
        """
        if orbax_arrays.reads_in_place():
            self.finish()

    @contextlib.contextmanager
    def _or_give_up(
        self, position: int, older: list[_Saved], staging: epath.Path
    ) -> Iterator[None]:
        """Where a part of a save fails, removes what there is of it and raises UserError."""
        try:
            yield
        except Exception as error:  # Orbax raises many types, and names none of them
            if processes.lost_a_peer(error):
                raise
            if processes.is_primary():
                with contextlib.suppress(OSError):
                    staging.rmtree()
            stays = f"checkpoint {older[-1].position} stays" if older else "there is none before it"
            raise UserError(
                f"checkpoint {position} could not be saved in {self._directory}: "
                f"{orbax_arrays.reason(error)}; {stays}. Fix that and run the same command again"
            ) from error

    def restore(
        self, position: int | None = None, only: str | None = None, like: Arrays | None = None
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
        found = self._saved()[::-1]
        names = [saved.path.name for saved in found if position in (None, saved.position)]
        for name in collectives.all_gather(names)[0]:
            number = int(name.partition(".")[0])
            try:
                restored = checkpoint_files.read_checked(self._directory / name, only, like or {})
            except manifest.Damaged as problem:
                damaged.append(f"checkpoint {number} in {self._directory} ({problem})")
                continue
            if damaged and processes.is_primary():
                print(
                    f"damaged: {', '.join(damaged)}; going back to checkpoint {number}, "
                    "the last good one",
                    file=sys.stderr,
                )
            return restored
        if damaged:
            others = f"name another one, there are: {self.listed()}"
            if position is None:
                others = (
                    "there is no other to go back to: restore it from a copy, or start again in "
                    "another --workdir"
                )
            raise UserError(f"damaged: {', '.join(damaged)}; {others}")
        if position is not None:
            raise UserError(
                f"no checkpoint {position} in {self._directory}; there are: {self.listed()}"
            )
        return None

    def _saved(self) -> list[_Saved]:
        """Complete checkpoints, oldest position first, and of one position the oldest attempt.
        Raises UserError where a file has their directory's name.
        """
        if not self._directory.exists():
            return []
        if not self._directory.is_dir():
            raise UserError(
                f"{self._directory} is in the way of the checkpoints; move it, or give another "
                "--workdir"
            )
        found = []
        for path in self._directory.iterdir():
            position, _, attempt = path.name.partition(".")
            whole = is_local(path) or manifest.is_sealed(path)
            if position.isdecimal() and attempt.isdecimal() and whole:
                found.append(_Saved(int(position), int(attempt), path))
        return sorted(found)

    def _remove(self, path: epath.Path) -> None:
        # First what makes it a checkpoint: a kill half-way must not leave what looks like damage.
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
