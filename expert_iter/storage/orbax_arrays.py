"""Arrays on the disk by Orbax, one item for each top-level entry, so that one can be read alone.

Orbax stores neither empty arrays nor empty dicts. `describe` says where they are in a tree; the
caller stores the description, and `read` puts them back.
"""

import contextlib
import errno
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from flax import traverse_util

Arrays = dict[str, Any]  # nested dicts, arrays at the leaves

# Bytes of a file. Each is put together in memory first; Orbax's default is 2 GB.
_FILE = 64 << 20
_OVERHEAD = 64 * 1024  # bytes of index and metadata that Orbax writes for an item, rounded up


def snapshot(arrays: Arrays) -> Arrays:
    """Arrays that stay as they are when the caller changes or donates its own.

    Only NumPy's are copied. Orbax copies those of accelerators to the host before `start_writing`
    returns. Those of CPUs it reads in place: of a donated array that is being read, JAX makes a
    copy to give away.
    """
    return jax.tree.map(lambda x: x if isinstance(x, jax.Array) else np.array(x), arrays)


def reads_in_place() -> bool:
    """Whether arrays on devices are read while they are written to the disk."""
    return jax.default_backend() == "cpu"


def describe(tree: Any) -> Any:
    """The tree with `[dtype, shape]` for each array; JSON values.

    Raises TypeError if it holds anything but arrays and dicts with strings for keys.
    """
    if isinstance(tree, np.ndarray | jax.Array):
        return [str(tree.dtype), list(tree.shape)]
    if not isinstance(tree, dict) or not all(isinstance(key, str) for key in tree):
        raise TypeError(f"a checkpoint holds arrays and dicts with strings for keys, not {tree!r}")
    return {key: describe(value) for key, value in tree.items()}


def require_space(directory: epath.Path, arrays: Arrays) -> None:
    """Raises OSError if the disk has too little free space for `arrays`.

    Orbax notices that itself, but while its other threads go on writing, with tracebacks on stderr.
    """
    size = sum(array.nbytes for array in jax.tree.leaves(arrays)) + _OVERHEAD * (1 + len(arrays))
    if shutil.disk_usage(directory).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def start_writing(directory: epath.Path, arrays: Arrays) -> Callable[[], None]:
    """Writes in threads of Orbax's own. Returns a function that waits until all is written."""
    full = _without_empty(arrays, lambda array: array.size == 0)
    items = {
        name: ocp.args.PyTreeSave({name: entry}, ocdbt_target_data_file_size=_FILE)
        for name, entry in full.items()
    }
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


def read(directory: epath.Path, described: Mapping[str, Any], like: Arrays) -> Arrays:
    """The entries that were written.

    Args:
      directory: what `start_writing` got.
      described: the wanted top-level entries, as `describe` gave them.
      like: entries to return on devices: `jax.ShapeDtypeStruct`s with shardings, in the structure
        that was saved. The others are host NumPy.
    """
    stored = _without_empty(described, lambda description: 0 in description[1])
    if not stored:
        return _with_empty(described, {})

    def restore_args(name):
        if name in like:
            return jax.tree.map(
                lambda x: ocp.ArrayRestoreArgs(sharding=x.sharding, dtype=x.dtype), like[name]
            )
        is_leaf = lambda x: isinstance(x, list)  # noqa: E731
        host = ocp.RestoreArgs(restore_type=np.ndarray)
        return jax.tree.map(lambda _: host, stored[name], is_leaf=is_leaf)

    items = {
        name: ocp.args.PyTreeRestore(restore_args={name: restore_args(name)}) for name in stored
    }
    with _silence(), ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        restored = checkpointer.restore(directory, args=ocp.args.Composite(**items))
    return _with_empty(described, {name: restored[name][name] for name in items})


def reason(error: Exception) -> str:
    """A few words for what may be many lines about the inside of a storage library."""
    text = " ".join(str(error).split())
    for known in map(os.strerror, (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)):
        if known in text:
            return known
    return text if len(text) <= 200 else f"{text[:200]}…"


def _without_empty(tree: Mapping[str, Any], is_empty: Callable[[Any], bool]) -> dict[str, Any]:
    """Nested dicts, of arrays or of their descriptions, without empty leaves and empty dicts."""
    flat = traverse_util.flatten_dict(tree)
    return traverse_util.unflatten_dict({k: leaf for k, leaf in flat.items() if not is_empty(leaf)})


def _with_empty(described: Any, full: Any) -> Any:
    """The inverse of `_without_empty`, given the description of the tree."""
    if isinstance(described, dict):
        return {key: _with_empty(value, full.get(key, {})) for key, value in described.items()}
    dtype, shape = described
    return np.zeros(shape, dtype) if 0 in shape else full


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
