"""The files of one checkpoint: the arrays of all processes, those of one alone, and the manifest.

arrays/          Orbax, one item for each top-level entry, so that one can be read alone
shares/          3.npz: arrays that process 3 alone has
manifest.json    the caller's meta, every array's dtype and shape, every file's SHA-256
"""

import io
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from expert_iter.pod import collectives, processes
from expert_iter.storage import manifest, orbax_arrays
from expert_iter.storage.orbax_arrays import Arrays

ARRAYS, SHARES = "arrays", "shares"


class Restored(NamedTuple):
    """A checkpoint read back.

    Attributes:
      position: how far the run had come, in the caller's units; 0 or more.
      arrays: nested dicts of arrays: host NumPy, whatever devices they were saved from, unless they
        were asked for on devices.
      meta: the caller's JSON values.
      shares: the arrays that one process alone had, an entry for each process that saved.
    """

    position: int
    arrays: Arrays
    meta: dict[str, Any]
    shares: list[dict[str, np.ndarray]]


def write_share(directory: epath.Path, share: Mapping[str, np.ndarray]) -> None:
    """Writes the arrays that this process alone has."""
    buffer = io.BytesIO()
    np.savez(buffer, **share)
    (directory / SHARES / f"{processes.index()}.npz").write_bytes(buffer.getvalue())


def read_checked(directory: epath.Path, only: str | None, like: Arrays) -> Restored:
    """Reads a checkpoint after checking its files. All processes call this, with the same result.

    Args:
      only: the one top-level entry to check and read; None: all of them, and the shares.
      like: entries to return on devices (see `orbax_arrays.read`).

    Raises:
      Damaged: what is wrong with it, on all processes.
    """
    problem = restored = None
    if processes.is_primary():
        try:
            content = manifest.unseal(directory)
            # Files of Orbax that belong to no entry begin with an underscore.
            wanted = (f"{ARRAYS}/{only}/", f"{ARRAYS}/_") if only else ""
            manifest.check(directory, content, wanted)
        except manifest.Damaged as error:
            problem = str(error)
    problem = collectives.all_gather(problem)[0]
    if problem is None:
        try:
            restored = _read(directory, only, like)
        except Exception as error:  # Orbax raises many types, and names none of them
            problem = orbax_arrays.reason(error)
        problem = next(filter(None, collectives.all_gather(problem)), None)
    if problem is not None:
        raise manifest.Damaged(problem)
    return restored


def _read(directory: epath.Path, only: str | None, like: Arrays) -> Restored:
    content = manifest.unseal(directory)
    described = content["arrays"]
    entries = described if only is None else {only: described[only]}
    shares = range(0 if only else content.get("shares", 0))
    return Restored(
        content["position"],
        orbax_arrays.read(directory / ARRAYS, entries, like),
        content["meta"],
        [_read_share(directory / SHARES / f"{number}.npz") for number in shares],
    )


def _read_share(path: epath.Path) -> dict[str, np.ndarray]:
    return dict(np.load(io.BytesIO(path.read_bytes())))
