"""The verifier: gives verdicts on finished solutions, in worker processes or in this one.

A verdict that hangs, crashes or takes too much memory counts as wrong, and is logged with the
problem's id and the reason. It delays other verdicts by at most its own time limit.
"""

import abc
import dataclasses
import pickle
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from expert_iter import extensions
from expert_iter.range_checks import Checks
from expert_iter.tasks import load_task
from expert_iter.tasks.task import Problem, Task
from expert_iter.tasks.verifier import worker as pool_worker
from expert_iter.tasks.verifier.dispatch import Batch, Dispatcher, Item, log_wrong

Verdicts = Future[list[bool]]


@dataclasses.dataclass(frozen=True)
class VerifierConfig:
    """The worker processes that give verdicts.

    Attributes:
      workers: number of processes.
      seconds: wall time limit of one verdict. The tests of code have a limit of 5 seconds besides.
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


class Verifier(abc.ABC):
    """Gives verdicts. As a context manager, it closes itself."""

    @abc.abstractmethod
    def submit(self, problems: Sequence[Problem], solutions: Sequence[str | None]) -> Verdicts:
        """`verify` in the background. The future's `result()` raises what `verify` raises.

        The future's callbacks must be short, for other verdicts wait for them.
        """

    def verify(self, problems: Sequence[Problem], solutions: Sequence[str | None]) -> list[bool]:
        """Whether each solution is right. None counts as wrong.

        Raises:
          UserError: no worker can start, for example because of a wrong setting of the task.
        """
        return self.submit(problems, solutions).result()

    def close(self) -> None:  # noqa: B027 (one in this process has nothing to end)
        """Ends the workers, if there are some. Futures that are not done raise RuntimeError."""

    def __enter__(self) -> "Verifier":
        return self

    def __exit__(self, *exc_info) -> None:
        self.close()


class InProcessVerifier(Verifier):
    """A verifier in this process, for a task whose verdicts are cheap and safe."""

    def __init__(self, task: Task):
        self._task = task

    def submit(self, problems: Sequence[Problem], solutions: Sequence[str | None]) -> Verdicts:
        """The future is done."""
        future = Future()
        future.set_result([self._verdict(*pair) for pair in zip(problems, solutions, strict=True)])
        return future

    def _verdict(self, problem: Problem, solution: str | None) -> bool:
        try:
            return solution is not None and self._task.verdict(problem, solution)
        except Exception as error:
            log_wrong(problem.id, pool_worker.reason_of(error))
            return False


def _load(name: str, settings: Mapping[str, Any], imports: str) -> Task:
    extensions.load(imports)
    task = load_task(name, settings)
    task.prepare()
    return task


class VerifierPool(Verifier):
    """A verifier in worker processes, which start with the first request and stay.

    Several threads may use it. Each worker ends with the thread that owns it, and so with this
    process, however it ends.
    """

    _load = staticmethod(_load)  # makes the task in a worker, from its name and settings

    def __init__(self, task_name: str, task_settings: Mapping[str, Any], config: VerifierConfig):
        """Starts no process yet. The workers make the task from its name and settings."""
        arguments = (task_name, dict(task_settings), extensions.loaded())
        first_frame = pool_worker.to_frame((self._load, arguments, config.megabytes))
        self._dispatcher = Dispatcher(first_frame, config.workers, config.seconds)
        self._closed = False

    def submit(self, problems: Sequence[Problem], solutions: Sequence[str | None]) -> Verdicts:
        if self._closed:
            raise RuntimeError("the pool of verifiers is closed")
        pairs = list(zip(problems, solutions, strict=True))
        asked = [i for i, (_, solution) in enumerate(pairs) if solution is not None]
        batch = Batch(len(pairs), len(asked))
        self._dispatcher.put(
            [Item(batch, i, pairs[i][0].id, pickle.dumps(pairs[i])) for i in asked]
        )
        return batch.future

    def close(self) -> None:
        self._closed = True
        self._dispatcher.close()


def make_verifier(task: Task, config: VerifierConfig) -> Verifier:
    """The verifier of a task: in this process if `task.in_process`, else in worker processes."""
    if task.in_process:
        return InProcessVerifier(task)
    return VerifierPool(task.name, dataclasses.asdict(task.config), config)
