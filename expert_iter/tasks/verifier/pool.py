"""The verifier: gives verdicts on finished solutions, in worker processes or in this one.

A verdict that hangs, crashes or takes too much memory counts as wrong, and is logged with the
problem's id and the reason. It delays other verdicts by at most its own time limit.
"""

import abc
import dataclasses
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from expert_iter.tasks.task import Problem, Task
from expert_iter.tasks.verifier.dispatch import Service
from expert_iter.tasks.verifier.worker import reason_of
from expert_iter.tasks.verifier.worker_pool import VerifierConfig, WorkerPool, load

_log = logging.getLogger(__name__)

Verdicts = Future[list[bool]]


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
            _log_wrong(problem.id, reason_of(error))
            return False


class VerifierPool(Verifier):
    """A verifier in worker processes; see `WorkerPool`."""

    _load = staticmethod(load)

    def __init__(self, task_name: str, task_settings: Mapping[str, Any], config: VerifierConfig):
        """Starts no process yet. The workers make the task from its name and settings."""
        self._pool = WorkerPool(_VERIFIER, task_name, task_settings, config, self._load)

    def submit(self, problems: Sequence[Problem], solutions: Sequence[str | None]) -> Verdicts:
        pairs = zip(problems, solutions, strict=True)
        requests = [
            None if solution is None else (problem, solution) for problem, solution in pairs
        ]
        return self._pool.submit(requests, [problem.id for problem in problems])

    def close(self) -> None:
        self._pool.close()


def make_verifier(task: Task, config: VerifierConfig) -> Verifier:
    """The verifier of a task: in this process if `task.in_process`, else in worker processes."""
    if task.in_process:
        return InProcessVerifier(task)
    return VerifierPool(task.name, dataclasses.asdict(task.config), config)


def _verdict(task: Task, request: tuple[Problem, str]) -> bool:
    return bool(task.verdict(*request))


def _is_right(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(value)
    return value


def _log_wrong(problem_id: str, why: str) -> None:
    _log.warning("the verdict on %s counts as wrong: %s", problem_id, why)


_VERIFIER = Service("verifier", _verdict, _is_right, False, _log_wrong)
