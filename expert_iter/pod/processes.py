"""The processes of one run, usually one per host: how they start, wait for each other, and end.

All processes run the same program on the same settings. `barrier` and `shutdown` must be called by
all of them, in the same order. JAX's distributed runtime does the rest.
"""

import os
import re
import sys
import threading
import time
from typing import Any, NoReturn

import jax

from expert_iter.errors import UserError

# Launch scripts set these where JAX cannot detect them. It detects TPU pods, Slurm and Open MPI.
COORDINATOR, COUNT, INDEX = (
    f"EXPERT_ITER_{name}" for name in ("COORDINATOR", "PROCESSES", "PROCESS")
)
DEAD_PEER = 75  # exit code after another process died; EX_TEMPFAIL of sysexits.h: try again
_HEARTBEAT = 35  # seconds without a heartbeat after which a process counts as dead
_POLL_SECONDS = 3  # between looks for dead processes


def start(distributed: bool) -> None:
    """Joins the run's other processes, if there are any. Call it before any other use of JAX.

    Args:
      distributed: whether there are other processes, which JAX detects. Otherwise the environment
        decides: COORDINATOR, COUNT and INDEX.

    Raises:
      UserError: the environment is incomplete, or the other processes cannot be reached.
    """
    given = [os.environ.get(name, "") for name in (COORDINATOR, COUNT, INDEX)]
    coordinator, processes, process = given
    where: dict[str, Any] = {}
    if any(given):
        if not (coordinator and processes.isdecimal() and process.isdecimal()):
            raise UserError(
                f"{COORDINATOR}, {COUNT} and {INDEX} must be host:port, the number of processes "
                f"and the index of this one; they are {', '.join(map(repr, given))}"
            )
        where = {
            "coordinator_address": coordinator,
            "num_processes": int(processes),
            "process_id": int(process),
            "cluster_detection_method": "deactivate",
        }
    elif not distributed:
        return
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # Without this, JAX aborts a process whose peer died before `_watch` can print which one.
    jax.config.update("jax_enable_recoverability", True)
    try:
        jax.distributed.initialize(**where, heartbeat_timeout_seconds=_HEARTBEAT)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"cannot join the other processes ({reason}); --distributed is for TPU pods, "
            f"Slurm and Open MPI; elsewhere set {COORDINATOR}, {COUNT} and {INDEX}"
        ) from error
    _STARTED.set()
    if jax.process_count() > 1:
        threading.Thread(target=_watch, name="peers", daemon=True).start()


def index() -> int:
    return jax.process_index()


def count() -> int:
    return jax.process_count()


def is_primary() -> bool:
    """Whether this is process 0, which alone writes metrics, tables and plots."""
    return jax.process_index() == 0


def barrier(name: str, seconds: float = 600.0) -> None:
    """Waits until all processes have called it. Any thread may call it: it uses no device.

    Args:
      name: of this barrier; each may be used once.
      seconds: to wait at most.
    """
    if jax.process_count() > 1:
        _client().wait_at_barrier(name, int(seconds * 1000))


def shutdown() -> None:
    """Leaves the run once all processes have called this. All files must be written before."""
    if jax.process_count() > 1:
        barrier("leave")
        _LEAVING.set()
        barrier("left")  # from here on no process counts an ended one as dead
        if is_primary():  # it hosts JAX's coordinator, and JAX aborts a process that loses it
            while len(_client().get_live_nodes(list(range(jax.process_count())))) > 1:
                time.sleep(0.1)
        jax.distributed.shutdown()


def exit(code: int) -> None:
    """Ends this process without waiting for the others. Returns if it is the only one."""
    if _STARTED.is_set():
        sys.stdout.flush()
        sys.stderr.flush()
        _exit(code)


_RESTART = "run the same command again on all hosts to resume from the last checkpoint"
_STARTED = threading.Event()
_LEAVING = threading.Event()


def _client():
    from jax._src import distributed  # JAX has no public name for it

    return distributed.global_state.client


def _watch() -> None:
    """Ends this process, and prints why, once another process has died."""
    everybody = list(range(jax.process_count()))
    while not _LEAVING.wait(_POLL_SECONDS):
        try:
            missing = sorted(set(everybody) - set(_client().get_live_nodes(everybody)))
        except Exception:  # the coordinator does not answer
            missing = [0]
        if missing and not _LEAVING.is_set():
            exit_after_losing(missing)


def exit_after_losing(missing: list[int]) -> NoReturn:
    """Prints which processes died, and exits: any collective would wait for them for ever.

    Args:
      missing: indices of the processes; empty if not known.
    """
    who = " and ".join(map(str, missing)) or "another one"
    line = f"process {index()}: process {who} has died; {_RESTART}"
    print(line, file=sys.stderr, flush=True)
    _exit(DEAD_PEER)


def _exit(code: int) -> NoReturn:
    if is_primary() and not _LEAVING.is_set():
        # JAX aborts processes that lose its coordinator, which is in this one. Others that end for
        # the same reason need time to print it.
        _LEAVING.set()
        time.sleep(_POLL_SECONDS)
    os._exit(code)


def lost_a_peer(error: Exception) -> bool:
    """Whether an error comes from a connection to a dead process.

    If so, `_watch` usually ends this process, naming the dead one, before this returns.
    """
    if not _STARTED.is_set() or not re.search(_CONNECTION_ERRORS, str(error)):
        return False
    time.sleep(_HEARTBEAT + 2 * _POLL_SECONDS)
    return True


# Parts of the messages of Gloo, NCCL, gRPC and sockets.
_CONNECTION_ERRORS = "Gloo|NCCL|Connection|connection|UNAVAILABLE|DEADLINE_EXCEEDED"
