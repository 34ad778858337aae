"""Exchanges values between the processes of a run.

Every function must be called by all processes, in the same order. With a single process they cost
nothing.
"""

import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from expert_iter.errors import UserError
from expert_iter.pod.processes import is_primary

_SHORT = 4096  # bytes; longer pickles take a second collective


def all_gather(value: Any) -> list[Any]:
    """The values of all processes, ordered by process index.

    Args:
      value: anything that can be pickled; types and sizes may differ between processes.
    """
    if jax.process_count() == 1:
        return [value]
    data = np.frombuffer(pickle.dumps(value, pickle.HIGHEST_PROTOCOL), np.uint8)
    head = np.zeros(8 + _SHORT, np.uint8)
    head[:8] = np.frombuffer(np.int64(len(data)).tobytes(), np.uint8)
    head[8 : 8 + min(len(data), _SHORT)] = data[:_SHORT]
    heads = multihost_utils.process_allgather(head)
    sizes = [int(np.frombuffer(head[:8].tobytes(), np.int64)[0]) for head in heads]
    bodies = heads[:, 8:]
    if max(sizes) > _SHORT:
        # Powers of two: each size compiles a program.
        body = np.zeros(1 << (max(sizes) - 1).bit_length(), np.uint8)
        body[: len(data)] = data
        bodies = multihost_utils.process_allgather(body)
    return [pickle.loads(body[:size].tobytes()) for body, size in zip(bodies, sizes, strict=True)]


def gather_dicts(parts: Mapping) -> dict:
    """The union of all processes' dicts, in ascending order of keys."""
    union = {key: value for part in all_gather(dict(parts)) for key, value in part.items()}
    return {key: union[key] for key in sorted(union)}


def gather_arrays(parts: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All processes' arrays, concatenated along axis 0 in the order of process indices."""
    all_parts = all_gather(dict(parts))
    return {name: np.concatenate([part[name] for part in all_parts]) for name in parts}


def local_shard(items: Sequence) -> Sequence:
    """The items of this process: those at index, index + count, index + 2 count and so on."""
    return items[jax.process_index() :: jax.process_count()]


def gather_shards(results: Sequence) -> list:
    """Undoes `local_shard`: the results for all items, in the items' order, on all processes.

    Args:
      results: one for each item of `local_shard`.
    """
    shards = all_gather(list(results))
    gathered: list = [None] * sum(map(len, shards))
    for number, shard in enumerate(shards):
        gathered[number :: len(shards)] = shard
    return gathered


def primary_first(work: Callable[[], Any]) -> Any:
    """Does `work` on process 0, then on the others, which find the files that process 0 wrote.

    Raises:
      UserError: `work` raised it on process 0; all processes raise it.
    """
    done = error_text = None
    if is_primary():
        try:
            done = work()
        except UserError as error:
            error_text = str(error)
    error_text = all_gather(error_text)[0]
    if error_text is not None:
        raise UserError(error_text)
    return done if is_primary() else work()
