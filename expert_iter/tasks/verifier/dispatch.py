"""The thread of a pool that sends requests for verdicts to workers, and replaces dead workers."""

import contextlib
import logging
import math
import selectors
import socket
import threading
import time
from collections import deque
from concurrent.futures import Future, InvalidStateError
from typing import NamedTuple

from expert_iter.errors import UserError
from expert_iter.tasks.verifier import worker as pool_worker
from expert_iter.tasks.verifier.process import WorkerProcess

_log = logging.getLogger(__name__)

_START_SECONDS = 120.0  # time limit of a worker's start; generous, for busy machines
_MOST_FAILED_STARTS = 3  # in a row
# A worker gets about this much work in advance. The thread may wait milliseconds for the GIL, and
# the workers must not be idle meanwhile.
_AHEAD_SECONDS = 0.05
_MOST_AHEAD = 64  # requests of a worker at a time
_VERDICTS = (pool_worker.RIGHT, pool_worker.WRONG, pool_worker.FAILED)
_CLOSED = "the pool of verifiers is closed"


class Batch:
    """The verdicts of one call of `submit`.

    Attributes:
      future: their list of bool, once all are known.
    """

    def __init__(self, size: int, asked: int):
        """`asked` of the `size` verdicts will be set; the others are False."""
        self.future: Future[list[bool]] = Future()
        self.future.set_running_or_notify_cancel()  # makes it impossible to cancel
        self._verdicts = [False] * size
        self._left = asked
        if not asked:
            self.future.set_result(self._verdicts)

    def settle(self, index: int, verdict: bool) -> None:
        """Sets one verdict."""
        self._verdicts[index] = verdict
        self._left -= 1
        if not self._left:
            self.future.set_result(self._verdicts)

    def fail(self, error: Exception) -> None:
        """Makes the future raise `error`."""
        with contextlib.suppress(InvalidStateError):  # another item has failed before
            self.future.set_exception(error)


class Item(NamedTuple):
    """A request for one verdict.

    Attributes:
      batch: the batch that it belongs to.
      index: of the verdict in the batch.
      problem_id: for the log.
      frame: the message to a worker; see worker.py.
    """

    batch: Batch
    index: int
    problem_id: str
    frame: bytes


class Dispatcher(threading.Thread):
    """Owns the workers. Other threads call `start` once, then `put` and `stop`."""

    def __init__(self, first_frame: bytes, workers: int, seconds: float):
        """Starts no worker yet.

        Args:
          first_frame: the first message to each worker, which makes the task.
          workers: the largest number of workers.
          seconds: time limit of a verdict.
        """
        super().__init__(name="verdicts", daemon=True)
        self._first_frame = first_frame
        self._most_workers = workers
        self._seconds = seconds
        self._incoming: deque[Item] = deque()  # shared by threads: its methods are atomic
        self._stopped = threading.Event()
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        # Only this thread uses the following.
        self._waiting: deque[Item] = deque()
        self._workers: list[WorkerProcess[Item]] = []
        self._failed_starts = 0
        self._broken = ""  # why no worker can start
        # Mean time of a verdict. This start value gives a worker one request at a time.
        self._mean_seconds = _AHEAD_SECONDS

    def put(self, items: list[Item]) -> None:
        """Queues requests."""
        self._incoming.extend(items)
        if self._stopped.is_set():
            for item in items:
                item.batch.fail(RuntimeError(_CLOSED))
        self._notify()

    def stop(self) -> None:
        """Ends the thread and the workers. Requests that are left fail."""
        self._stopped.set()
        self._notify()

    def _notify(self) -> None:
        with contextlib.suppress(OSError):  # the socket is full, so the thread will wake; or closed
            self._wake.send(b".")

    def run(self) -> None:
        """The thread's loop, until `stop`."""
        error: Exception = RuntimeError(_CLOSED)
        try:
            while not self._stopped.is_set():
                self._take_in()
                self._start_workers()
                self._send_requests()
                self._wait()
                self._end_overdue()
        except Exception as bug:  # the futures raise it
            error = bug
        self._stopped.set()
        self._fail_all(error)
        self._wake.close()
        self._woken.close()

    def _take_in(self) -> None:
        while self._incoming:
            self._waiting.append(self._incoming.popleft())
        if self._broken:
            self._fail_all(UserError(f"no verifier can start: {self._broken}"))

    def _start_workers(self) -> None:
        while self._waiting and len(self._workers) < self._most_workers:
            if self._failed_starts >= _MOST_FAILED_STARTS:
                return
            try:
                self._workers.append(WorkerProcess(self._first_frame))
            except OSError as error:
                return self._count_failed_start(str(error))

    def _send_requests(self) -> None:
        """Sends each request to the least busy worker, except to one that may be hanging."""
        now = time.monotonic()
        ready = [
            worker
            for worker in self._workers
            if worker.ready and not (worker.items and now - worker.since > _AHEAD_SECONDS)
        ]
        ahead = max(1, int(_AHEAD_SECONDS / self._mean_seconds))
        while self._waiting and ready:
            worker = min(ready, key=lambda worker: len(worker.items))
            if len(worker.items) >= ahead:
                return
            item = self._waiting.popleft()
            worker.assign(item, item.frame)

    def _wait(self) -> None:
        """Waits until a message comes or a worker is overdue, then reads all messages."""
        with selectors.PollSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            for worker in self._workers:
                writes = selectors.EVENT_WRITE if worker.unsent else 0
                selector.register(worker.socket, selectors.EVENT_READ | writes, worker)
            # With work and no worker, because one did not start, the next iteration starts one.
            left = 0.0 if self._waiting and not self._workers else math.inf
            left = min([left, *map(self._left, self._workers)])
            events = selector.select(None if left == math.inf else max(0.0, left))
        for key, event in events:
            worker = key.data
            if worker is None:
                self._woken.recv(1 << 16)
                continue
            if event & selectors.EVENT_WRITE:
                worker.flush()
            if event & selectors.EVENT_READ:
                self._read(worker)

    def _left(self, worker: WorkerProcess) -> float:
        """Seconds until the worker is overdue; infinite while it is idle."""
        if worker.ready and not worker.items:
            return math.inf
        limit = self._seconds if worker.ready else _START_SECONDS
        return worker.since + limit - time.monotonic()

    def _end_overdue(self) -> None:
        for worker in list(self._workers):
            if self._left(worker) <= 0:
                self._read(worker)  # this thread may be late, and the answer may be there
            if worker in self._workers and self._left(worker) <= 0:
                limit = self._seconds if worker.ready else _START_SECONDS
                self._lose(worker, f"not done within {limit:g} seconds")

    def _read(self, worker: WorkerProcess) -> None:
        lines, is_open = worker.read()
        for line in lines:
            mark, reason = line[:1], line[1:]
            if not worker.ready:
                self._note_start(worker, mark, reason)
            elif worker.items and mark in _VERDICTS:
                self._settle(worker, mark, reason)
            else:
                why = "out of memory" if mark == pool_worker.OUT_OF_MEMORY else "no verdict given"
                return self._lose(worker, why)
        if not is_open:
            self._lose(worker)

    def _note_start(self, worker: WorkerProcess, mark: str, reason: str) -> None:
        if mark == pool_worker.READY:
            worker.ready = True
            self._failed_starts = 0
        else:
            self._broken = reason

    def _settle(self, worker: WorkerProcess, mark: str, reason: str) -> None:
        now = time.monotonic()
        seconds = min(max(now - worker.since, _AHEAD_SECONDS / _MOST_AHEAD), _AHEAD_SECONDS)
        self._mean_seconds += 0.1 * (seconds - self._mean_seconds)
        worker.since = now
        item = worker.items.popleft()
        if mark == pool_worker.FAILED:
            log_wrong(item.problem_id, reason)
        item.batch.settle(item.index, mark == pool_worker.RIGHT)

    def _lose(self, worker: WorkerProcess, why: str = "") -> None:
        """Ends a worker. Its current verdict counts as wrong; others are requested again."""
        self._workers.remove(worker)
        how = worker.end()
        why = why or f"its process {how}"
        if not worker.ready:
            self._count_failed_start(why)
        else:
            self._failed_starts = 0
        if worker.items:
            item = worker.items.popleft()
            log_wrong(item.problem_id, why)
            item.batch.settle(item.index, False)
        self._waiting.extendleft(reversed(worker.items))

    def _count_failed_start(self, why: str) -> None:
        """Gives up after several failures in a row, unless some workers run."""
        self._failed_starts += 1
        if self._failed_starts >= _MOST_FAILED_STARTS and not self._workers:
            self._broken = self._broken or why

    def _fail_all(self, error: Exception) -> None:
        """Ends all workers, and fails all requests."""
        items = [*self._waiting]
        self._waiting.clear()
        while self._incoming:
            items.append(self._incoming.popleft())
        for worker in self._workers:
            items += worker.items
            worker.end()
        self._workers.clear()
        for item in items:
            item.batch.fail(error)


def log_wrong(problem_id: str, why: str) -> None:
    """Logs that a verdict could not be given."""
    _log.warning("the verdict on %s counts as wrong: %s", problem_id, why)
