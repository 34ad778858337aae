"""The processes of one run, one a host or so: how they start, meet, tell each other, and end.

All of them run the same program on the same settings; what is said here once to all (`every`,
`merged`, `joined`, `undealt`, `meet`) must be called by all of them, in the same order. With one
process these cost nothing. All else is JAX's own distributed runtime.
"""

import os
import pickle
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from expert_iter.errors import UserError
from expert_iter.pod import exit_message

# How a launch script tells what JAX cannot find out by itself (it knows TPU pods, Slurm, Open MPI).
COORDINATOR, COUNT, INDEX = (
    f"EXPERT_ITER_{name}" for name in ("COORDINATOR", "PROCESSES", "PROCESS")
)
DEAD_PEER = 75  # exit code: try again (EX_TEMPFAIL of sysexits.h)
_HEARTBEAT = 35  # seconds without which a process counts as dead
_LOOK_EVERY = 3  # seconds
_SHORT = 4096  # bytes that travel with their own length


def start(distributed: bool) -> None:
    """Joins the run's other processes, if it is `distributed` or the environment says so. Must come
    before any other use of JAX.

    Raises:
      UserError: the environment is incomplete, or the others cannot be found or reached.
    """
    given = {name: os.environ.get(name, "") for name in (COORDINATOR, COUNT, INDEX)}
    if not distributed and not any(given.values()):
        return
    where: dict[str, Any] = {}
    if any(given.values()):
        if not (given[COORDINATOR] and given[COUNT].isdecimal() and given[INDEX].isdecimal()):
            raise UserError(
                f"{COORDINATOR}, {COUNT} and {INDEX} must say host:port, how many processes and "
                f"which one this is; they say {', '.join(map(repr, given.values()))}"
            )
        where = {
            "coordinator_address": given[COORDINATOR],
            "num_processes": int(given[COUNT]),
            "process_id": int(given[INDEX]),
            "cluster_detection_method": "deactivate",
        }
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # A process outlives its peers by as much as it needs to say so: see `_watch`.
    jax.config.update("jax_enable_recoverability", True)
    try:
        jax.distributed.initialize(**where, heartbeat_timeout_seconds=_HEARTBEAT)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"the other processes cannot be joined ({reason}); --distributed is for TPU pods, "
            f"Slurm and Open MPI, else set {COORDINATOR}, {COUNT} and {INDEX}"
        ) from error
    _STARTED.set()
    if jax.process_count() > 1:
        exit_message.arm(
            f"process {index()}: ended without a word, as when it is killed, memory runs out, or "
            f"JAX loses process 0; {_START_AGAIN}"
        )
        threading.Thread(target=_watch, name="peers", daemon=True).start()


def index() -> int:
    return jax.process_index()


def count() -> int:
    return jax.process_count()


def is_primary() -> bool:
    """Whether this is the process that writes what is written once: metrics, tables, pictures."""
    return jax.process_index() == 0


def all_gather(value: Any) -> list[Any]:
    """The `value` of every process (anything that can be pickled), by their numbers."""
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
        # Few different sizes: each is compiled.
        body = np.zeros(1 << (max(sizes) - 1).bit_length(), np.uint8)
        body[: len(data)] = data
        bodies = multihost_utils.process_allgather(body)
    return [pickle.loads(body[:size].tobytes()) for body, size in zip(bodies, sizes, strict=True)]


def gather_dicts(parts: Mapping) -> dict:
    """The dicts of all processes as one, by ascending keys."""
    union = {key: value for part in all_gather(dict(parts)) for key, value in part.items()}
    return {key: union[key] for key in sorted(union)}


def gather_arrays(parts: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of all processes, one after the other."""
    all_parts = all_gather(dict(parts))
    return {name: np.concatenate([part[name] for part in all_parts]) for name in parts}


def local_shard(items: Sequence) -> Sequence:
    """This process's share of what all of them have."""
    return items[jax.process_index() :: jax.process_count()]


def gather_shards(results: Sequence) -> list:
    """What all processes made of their shares, in the order of the whole."""
    hands = all_gather(list(results))
    whole: list = [None] * sum(map(len, hands))
    for number, hand in enumerate(hands):
        whole[number :: len(hands)] = hand
    return whole


def barrier(name: str, seconds: float = 600.0) -> None:
    """Waits until all processes are here. May be called beside the main thread: no device is used.

    name: of this meeting; none may have been called that before.
    """
    if jax.process_count() > 1:
        _client().wait_at_barrier(name, int(seconds * 1000))


def primary_first(work: Callable[[], Any]) -> Any:
    """Does work that leaves files behind, which the other processes find when it is their turn.
    A UserError of the first is one of them all.
    """
    done = mistake = None
    if is_primary():
        try:
            done = work()
        except UserError as error:
            mistake = str(error)
    mistake = all_gather(mistake)[0]
    if mistake is not None:
        raise UserError(mistake)
    return done if is_primary() else work()


def shutdown() -> None:
    """Parts from the others, who all call this; what is written is written by then."""
    if jax.process_count() > 1:
        barrier("leave")
        _LEAVING.set()
        barrier("left")  # from here on nobody takes one that goes for dead
        if is_primary():  # JAX ends those that lose its coordinator, which is in this process
            while len(_client().get_live_nodes(list(range(jax.process_count())))) > 1:
                time.sleep(0.1)
        jax.distributed.shutdown()


def exit(code: int) -> None:
    """Ends this process of several at once, without waiting for the others; does nothing to one
    that is alone.
    """
    if _STARTED.is_set():
        sys.stdout.flush()
        sys.stderr.flush()
        _exit(code)


_START_AGAIN = "start all again by the same command: the run goes on from its last checkpoint"
_STARTED = threading.Event()
_LEAVING = threading.Event()


def _client():
    from jax._src import distributed  # JAX has no public name for it

    return distributed.global_state.client


def _watch() -> None:
    """Ends this process, with a line, once another one is gone."""
    everybody = list(range(jax.process_count()))
    while not _LEAVING.wait(_LOOK_EVERY):
        try:
            missing = sorted(set(everybody) - set(_client().get_live_nodes(everybody)))
        except Exception:  # the coordinator does not answer
            missing = [0]
        if missing and not _LEAVING.is_set():
            exit_after_losing(missing)


def exit_after_losing(missing: list[int]) -> NoReturn:
    """Says which processes are gone, and exits at once: what waits for them would wait for ever."""
    who = " and ".join(map(str, missing)) or "another one"
    print(
        f"process {index()}: process {who} has died; {_START_AGAIN}",
        file=sys.stderr,
        flush=True,
    )
    _exit(DEAD_PEER)


def _exit(code: int) -> NoReturn:
    exit_message.disarm()
    if is_primary() and not _LEAVING.is_set():
        # JAX aborts those that lose its coordinator, which is in this process: others that end for
        # the same reason get the time to say so.
        _LEAVING.set()
        time.sleep(_LOOK_EVERY)
    os._exit(code)


def lost_a_peer(error: Exception) -> bool:
    """Whether an error is what a dead peer looks like: a broken connection. Waits a little for the
    watch to say who it was.
    """
    text = str(error)
    if not _STARTED.is_set() or not any(sign in text for sign in _BROKEN):
        return False
    time.sleep(_HEARTBEAT + 2 * _LOOK_EVERY)
    return True


_BROKEN = ("Gloo", "Connection", "connection", "UNAVAILABLE", "DEADLINE_EXCEEDED", "NCCL")
