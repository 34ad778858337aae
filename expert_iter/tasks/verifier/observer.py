"""Asks a task's world for observations, in worker processes or in this one.

An observation that hangs, crashes or takes too much memory makes its step illegal, and is logged.
It delays other observations by at most its own time limit.
"""

import abc
import dataclasses
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from expert_iter.tasks.task import Task
from expert_iter.tasks.verifier.dispatch import Service
from expert_iter.tasks.verifier.worker import reason_of
from expert_iter.tasks.verifier.worker_pool import VerifierConfig, WorkerPool, load
from expert_iter.tasks.world import GOES_ON, ILLEGAL, OVER, Observation, World

_log = logging.getLogger(__name__)

Asked = tuple[str, str]  # the prompt, and the solution so far
LOST = Observation("", ILLEGAL)


class Observer(abc.ABC):
    """Asks a world about texts."""

    @abc.abstractmethod
    def submit(self, asked: Sequence[Asked]) -> Future[list[Observation]]:
        """The answers to the last steps of texts, in order. The future's `result()` raises
        UserError if no worker can start.
        """

    def observe(self, prompt: str, text: str) -> Observation:
        """As `World.observe`."""
        [observation] = self.submit([(prompt, text)]).result()
        return observation

    def close(self) -> None:  # noqa: B027 (one in this process has nothing to end)
        """Ends the workers, if there are some. Futures that are not done raise RuntimeError."""


class InProcessObserver(Observer):
    """An observer in this process, for a world that is cheap and safe."""

    def __init__(self, world: World):
        self._world = world

    def submit(self, asked: Sequence[Asked]) -> Future[list[Observation]]:
        """The future is done."""
        future = Future()
        future.set_result([self._observation(*text) for text in asked])
        return future

    def _observation(self, prompt: str, text: str) -> Observation:
        try:
            return self._world.observe(prompt, text)
        except Exception as error:
            _log_illegal("", reason_of(error))
            return LOST


class ObserverPool(Observer):
    """An observer in worker processes; see `WorkerPool`."""

    _load = staticmethod(load)

    def __init__(self, task_name: str, task_settings: Mapping[str, Any], config: VerifierConfig):
        """Starts no process yet. The workers make the task from its name and settings."""
        self._pool = WorkerPool(_WORLD, task_name, task_settings, config, self._load)

    def submit(self, asked: Sequence[Asked]) -> Future[list[Observation]]:
        return self._pool.submit([tuple(text) for text in asked], [""] * len(asked))

    def close(self) -> None:
        self._pool.close()


def make_observer(task: Task, config: VerifierConfig) -> Observer:
    """Who asks the world of a task: in this process unless `world.in_process` is False."""
    if getattr(task.world, "in_process", True):
        return InProcessObserver(task.world)
    return ObserverPool(task.name, dataclasses.asdict(task.config), config)


def _observed(task: Task, asked: Asked) -> tuple[str, str]:
    text, status = task.world.observe(*asked)
    return text, status


def _observation(value: Any) -> Observation:
    text, status = value
    if not isinstance(text, str) or status not in (GOES_ON, ILLEGAL, OVER):
        raise ValueError(value)
    return Observation(text, status)


def _log_illegal(_: str, why: str) -> None:
    _log.warning("a step counts as illegal: %s", why)


_WORLD = Service("world", _observed, _observation, LOST, _log_illegal)
