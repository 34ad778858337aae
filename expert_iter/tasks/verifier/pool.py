"""Verdicts on finished solutions: by worker processes beside the search, or here where it is safe.

A verdict that hangs, crashes or takes too much memory is counted wrong and logged with the
problem's id and why. It delays no other one by more than its own time limit.
"""

import dataclasses
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from expert_iter import extensions
from expert_iter.errors import UserError
from expert_iter.tasks import load_task
from expert_iter.tasks.task import Problem, Task
from expert_iter.tasks.verifier import worker as pool_worker
from expert_iter.tasks.verifier.dispatch import Batch, Dispatcher, Item, log_wrong


@dataclasses.dataclass(frozen=True)
class VerifierConfig:
    """The processes that give verdicts.

    Attributes:
      workers: how many there are.
      seconds: that one verdict may take, by the clock; code has a limit of 5 of its own, below it.
      megabytes: address space of one, in MiB of 2**20 bytes, the interpreter included.
    """

    workers: int = 2
    seconds: float = 10.0
    megabytes: int = 2048

    def __post_init__(self):
        for key, least, most in (
            ("workers", 1, 1024),
            ("seconds", 0.01, 86_400),
            ("megabytes", 256, 1 << 20),
        ):
            value = getattr(self, key)
            if not least <= value <= most:
                raise UserError(f"verifier.{key}={value} is out of range: use {least} to {most}")


class InProcessVerifier:
    """Verdicts of a task that are cheap and safe, given at once by the thread that asks."""

    def __init__(self, task: Task):
        self._task = task

    def verify(self, problems: Sequence[Problem], solutions: Sequence[str | None]) -> list[bool]:
        """Whether each solution is right; None is wrong."""
        return [
            solution is not None and self._verdict(problem, solution)
            for problem, solution in zip(problems, solutions, strict=True)
        ]

    def submit(
        self, problems: Sequence[Problem], solutions: Sequence[str | None]
    ) -> Future[list[bool]]:
        """`verify`, as the pool has it."""
        future = Future()
        future.set_result(self.verify(problems, solutions))
        return future

    def _verdict(self, problem: Problem, solution: str) -> bool:
        try:
            return self._task.verdict(problem, solution)
        except Exception as error:
            log_wrong(problem.id, pool_worker.reason_of(error))
            return False

    def close(self) -> None:
        """Nothing to end; the pool has it."""

    def __enter__(self) -> "InProcessVerifier":
        return self

    def __exit__(self, *exc_info) -> None:
        self.close()


def _load(name: str, settings: Mapping[str, Any], imports: str) -> Task:
    extensions.load(imports)
    task = load_task(name, settings)
    task.prepare()
    return task


class VerifierPool:
    """Worker processes that give verdicts on a task; they start when first asked, and stay.

    May be asked from several threads. A thread of its own owns the workers, which end with it and
    so with this process, however that ends.
    """

    _load = staticmethod(_load)  # makes the task in a worker, from its name and settings

    def __init__(self, task_name: str, task_settings: Mapping[str, Any], config: VerifierConfig):
        self._config = config
        self._arguments = (task_name, dict(task_settings), extensions.loaded())
        self._lock = threading.Lock()
        self._dispatcher: Dispatcher | None = None
        self._closed = False

    def verify(self, problems: Sequence[Problem], solutions: Sequence[str | None]) -> list[bool]:
        """Whether each solution is right, in order; waits for the verdicts. None is wrong.

        Raises UserError if no worker can be started, such as for a wrong setting of the task.
        """
        return self.submit(problems, solutions).result()

    def submit(
        self, problems: Sequence[Problem], solutions: Sequence[str | None]
    ) -> Future[list[bool]]:
        """`verify`, going on beside the caller. What it raises, the future's `result()` raises.

        Callbacks of the future must be short: other verdicts wait for them.
        """
        pairs = list(zip(problems, solutions, strict=True))
        asked = [i for i, (_, solution) in enumerate(pairs) if solution is not None]
        batch = Batch(len(pairs), len(asked))
        items = [Item(batch, i, pairs[i][0].id, pool_worker.to_frame(pairs[i])) for i in asked]
        with self._lock:
            if self._closed:
                raise RuntimeError("the pool of verifiers is closed")
            if items and self._dispatcher is None:
                start = pool_worker.to_frame((self._load, self._arguments, self._config.megabytes))
                self._dispatcher = Dispatcher(start, self._config.workers, self._config.seconds)
                self._dispatcher.start()
        if items:
            self._dispatcher.put(items)
        return batch.future

    def close(self) -> None:
        """Ends the workers. Verdicts not yet given raise RuntimeError where they are waited for."""
        with self._lock:
            self._closed = True
        if self._dispatcher is not None:
            self._dispatcher.stop()
            self._dispatcher.join()

    def __enter__(self) -> "VerifierPool":
        return self

    def __exit__(self, *exc_info) -> None:
        self.close()


Verifier = InProcessVerifier | VerifierPool


def make_verifier(task: Task, config: VerifierConfig) -> Verifier:
    """Who gives the verdicts on a task: the task itself if it says so, else worker processes."""
    if task.in_process:
        return InProcessVerifier(task)
    return VerifierPool(task.name, dataclasses.asdict(task.config), config)
