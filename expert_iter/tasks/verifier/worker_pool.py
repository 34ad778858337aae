"""Worker processes that answer requests about a task, with limits of time and memory.

An answer that hangs, crashes or takes too much memory is lost, which is logged in one line. It
delays other answers by at most its own time limit.
"""

import dataclasses
import pickle
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from expert_iter import extensions
from expert_iter.range_checks import Checks
from expert_iter.tasks import load_task
from expert_iter.tasks.task import Task
from expert_iter.tasks.verifier import worker as pool_worker
from expert_iter.tasks.verifier.dispatch import Batch, Dispatcher, Item, Service


@dataclasses.dataclass(frozen=True)
class VerifierConfig:
    """The worker processes that give verdicts. A world that is not safe in the training process has
    as many others.

    Attributes:
      workers: number of processes.
      seconds: wall time limit of one verdict, or of one answer of a world. The tests of code have a
        limit of 5 seconds besides.
      megabytes: address space of one process, in MiB, including the interpreter.
    """

    workers: int = 2
    seconds: float = 10.0
    megabytes: int = 2048

    def __post_init__(self):
        check = Checks("verifier", self)
        check.between(1, 1024, "workers")
        check.between(0.01, 86_400, "seconds")
        check.between(256, 1 << 20, "megabytes")


def load(name: str, settings: Mapping[str, Any], imports: str) -> Task:
    """Makes a task in a worker."""
    extensions.load(imports)
    task = load_task(name, settings)
    task.prepare()
    return task


class WorkerPool:
    """Processes that make a task from its name and settings. They start with the first request and
    stay.

    Several threads may use it. Each worker ends with the thread that owns it, and so with this
    process, however it ends.
    """

    def __init__(
        self,
        service: Service,
        task_name: str,
        task_settings: Mapping[str, Any],
        config: VerifierConfig,
        load: Callable[[str, Mapping[str, Any], str], Any] = load,
    ):
        """Starts no process yet. load: makes the task in a worker."""
        arguments = task_name, dict(task_settings), extensions.loaded()
        first_frame = pool_worker.to_frame((load, arguments, service.answer, config.megabytes))
        self._lost = service.lost
        self._dispatcher = Dispatcher(service, first_frame, config.workers, config.seconds)
        self._closed = False

    def submit(self, requests: Sequence[Any | None], names: Sequence[str]) -> Future[list]:
        """The answers, in order; lost where there is no request.

        Args:
          requests: what can be pickled.
          names: of the requests, for the log.

        Returns:
          A future, whose `result()` raises UserError if no worker can start. Its callbacks must be
          short, for other answers wait for them.
        """
        if self._closed:
            raise self._dispatcher.closed()
        asked = [i for i, request in enumerate(requests) if request is not None]
        batch = Batch(len(requests), len(asked), self._lost)
        self._dispatcher.put([Item(batch, i, names[i], pickle.dumps(requests[i])) for i in asked])
        return batch.future

    def close(self) -> None:
        """Ends the workers. Futures that are not done raise RuntimeError."""
        self._closed = True
        self._dispatcher.close()
