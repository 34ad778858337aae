"""The threads of a pool. Each owns a worker, sends it requests, and replaces it when it dies."""

import contextlib
import json
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import Any, NamedTuple

from expert_iter.errors import UserError
from expert_iter.tasks.verifier import worker as pool_worker
from expert_iter.tasks.verifier.process import Lost, WorkerProcess

_START_SECONDS = 120.0  # time limit of a worker's start; generous, for busy machines
_MOST_FAILED_STARTS = 3  # in a row
# A worker gets about this much work at a time. Its thread may wait milliseconds for the GIL, and
# the worker must not be idle meanwhile.
_AHEAD_SECONDS = 0.05
_MOST_AHEAD = 64  # requests of a worker at a time


class Service(NamedTuple):
    """What a pool is asked for.

    Attributes:
      name: of who answers, for messages: 'verifier' or 'world'.
      answer: what a worker runs, `answer(task, request)`; it returns a JSON value.
      read: makes the answer of that value. Raises ValueError or TypeError where it is none, for a
        task's code can write to the worker's socket.
      lost: the answer where none can be given.
      log: logs that, with the name of the request and the reason.
    """

    name: str
    answer: Callable[[Any, Any], Any]
    read: Callable[[Any], Any]
    lost: Any
    log: Callable[[str, str], None]


class Batch:
    """The answers of one call of `submit`.

    Attributes:
      future: their list, once all are known.
    """

    def __init__(self, size: int, asked: int, lost: Any):
        """`asked` of the `size` answers will be set; the others are `lost`."""
        self.future: Future[list] = Future()
        self.future.set_running_or_notify_cancel()  # makes it impossible to cancel
        self._answers = [lost] * size
        self._lock = threading.Lock()
        self._left = asked
        if not asked:
            self.future.set_result(self._answers)

    def settle(self, index: int, answer: Any) -> None:
        """Sets one answer."""
        self._answers[index] = answer
        with self._lock:
            self._left -= 1
            is_last = not self._left
        if is_last:
            self.future.set_result(self._answers)

    def fail(self, error: Exception) -> None:
        """Makes the future raise `error`."""
        with contextlib.suppress(InvalidStateError):  # another item has failed before
            self.future.set_exception(error)


class Item(NamedTuple):
    """A request for one answer.

    Attributes:
      batch: the batch that it belongs to.
      index: of the answer in the batch.
      name: for the log, such as a problem's id.
      pickled: the request; see worker.py.
    """

    batch: Batch
    index: int
    name: str
    pickled: bytes


class Dispatcher:
    """The threads, which share a queue of requests."""

    def __init__(self, service: Service, first_frame: bytes, workers: int, seconds: float):
        """Starts the threads, and no worker yet.

        Args:
          service: what the workers do.
          first_frame: the first message to each worker, which makes the task.
          workers: the largest number of workers.
          seconds: time limit of an answer.
        """
        self._service = service
        self._first_frame = first_frame
        self._seconds = seconds
        # Mean time of an answer. This start value gives a worker one request at a time.
        self._mean_seconds = _AHEAD_SECONDS
        self._changed = threading.Condition()  # guards the following
        self._waiting: deque[Item] = deque()
        self._processes: set[WorkerProcess] = set()
        self._failed_starts = 0
        self._error: Exception | None = None  # why the threads end
        self._threads = [
            threading.Thread(target=self._serve, name=f"{service.name}s", daemon=True)
            for _ in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, items: list[Item]) -> None:
        """Queues requests."""
        with self._changed:
            self._waiting.extend(items)
            self._changed.notify_all()
        if self._error:
            self.stop(self._error)

    def close(self) -> None:
        """Ends the threads and the workers. Requests that are left fail."""
        self.stop(self.closed())
        for thread in self._threads:
            thread.join()

    def closed(self) -> Exception:
        """What a pool raises once it is closed."""
        return RuntimeError(f"the pool of {self._service.name}s is closed")

    def stop(self, error: Exception) -> None:
        """Makes all threads end, and all requests fail with the first such `error`."""
        with self._changed:
            self._error = self._error or error
            items = [*self._waiting]
            self._waiting.clear()
            for process in self._processes:
                process.hang_up()
            self._changed.notify_all()
        for item in items:
            item.batch.fail(self._error)

    def _serve(self) -> None:
        """A thread's loop, until `stop`."""
        process: WorkerProcess | None = None
        items: deque[Item] = deque()  # what the process works on
        try:
            while self._wait_for_work(process):
                if process is None:
                    process = self._start()
                    continue
                try:
                    self._answer(process, items)
                except Lost as lost:
                    self._lose(process, items, str(lost))
                    process = None
        except Exception as bug:  # the futures raise it
            self.stop(bug)
        for item in items:
            item.batch.fail(self._error)
        if process:
            process.end()

    def _wait_for_work(self, process: WorkerProcess | None) -> bool:
        """Waits until there are requests that this thread can serve; False after `stop`."""

        def is_over() -> bool:
            can_serve = process or self._failed_starts < _MOST_FAILED_STARTS
            return bool(self._error or (self._waiting and can_serve))

        with self._changed:
            self._changed.wait_for(is_over)
            return not self._error

    def _start(self) -> WorkerProcess | None:
        """Starts a worker; None if it does not start.

        Gives up after several failures in a row, unless some workers run.
        """
        process = None
        try:
            with self._changed:  # so that others do not give up meanwhile
                if self._error:
                    return None
                process = WorkerProcess(self._first_frame)
                self._processes.add(process)
            mark, reason = process.receive(_START_SECONDS)
        except (OSError, Lost) as error:
            mark, reason = "", str(error)
        if mark == pool_worker.READY:
            return process
        if process:
            self._end(process)
        with self._changed:
            self._failed_starts += 1
            gives_up = self._failed_starts >= _MOST_FAILED_STARTS and not self._processes
        if gives_up or mark == pool_worker.FAILED:
            self.stop(UserError(f"no {self._service.name} can start: {reason}"))
        return None

    def _answer(self, process: WorkerProcess, items: deque[Item]) -> None:
        """Requests some answers, and takes them. Raises Lost."""
        if not process.is_idle():  # it has ended, or sent what nobody asked for
            raise Lost
        with self._changed:
            ahead = max(1, int(_AHEAD_SECONDS / self._mean_seconds))
            share = math.ceil(len(self._waiting) / len(self._threads))
            items.extend(self._waiting.popleft() for _ in range(min(ahead, share)))
        if items:
            process.send(pool_worker.to_frame([item.pickled for item in items]), self._seconds)
        while items:
            start = time.monotonic()
            mark, text = process.receive(self._seconds)
            answer = self._read(mark, text)
            seconds = max(time.monotonic() - start, _AHEAD_SECONDS / _MOST_AHEAD)
            self._mean_seconds += 0.1 * (min(seconds, _AHEAD_SECONDS) - self._mean_seconds)
            item = items.popleft()
            if mark == pool_worker.FAILED:
                self._service.log(item.name, text)
            item.batch.settle(item.index, answer)

    def _read(self, mark: str, text: str) -> Any:
        """The answer in a worker's line. Raises Lost where there is none."""
        if mark == pool_worker.FAILED:
            return self._service.lost
        if mark == pool_worker.OUT_OF_MEMORY:
            raise Lost("out of memory")
        try:
            if mark == pool_worker.ANSWER:
                return self._service.read(json.loads(text))
        except (ValueError, TypeError, RecursionError):
            pass  # the task's code wrote it
        raise Lost("no answer given")

    def _lose(self, process: WorkerProcess, items: deque[Item], why: str) -> None:
        """Ends a worker. Its current answer is lost; others are requested again."""
        self._end(process)
        with self._changed:
            self._failed_starts = 0
            self._changed.notify_all()
            if self._error or not items:
                return
            item = items.popleft()
            self._waiting.extendleft(reversed(items))
            items.clear()
        self._service.log(item.name, why)
        item.batch.settle(item.index, self._service.lost)

    def _end(self, process: WorkerProcess) -> None:
        process.end()
        with self._changed:
            self._processes.remove(process)
