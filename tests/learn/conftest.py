"""Random step trees, and stand-ins for the other processes of a run."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from expert_iter.learn.step_tree import StepTree
from expert_iter.pod import processes

VOCAB = 12


@pytest.fixture(scope="session")
def random_tree():
    """Makes a tree of `steps` steps of 1 to 3 tokens, each after a random earlier one."""

    def make(rng, steps=6, prompt=3):
        length = rng.integers(1, 4, steps)
        length[0] = prompt
        parent = np.array([-1, *(rng.integers(0, g) for g in range(1, steps))])
        step = np.arange(steps) > 0
        return StepTree(
            token=rng.integers(0, VOCAB, length.sum()).astype(np.int32),
            length=length.astype(np.int32),
            parent=parent.astype(np.int32),
            policy_weight=(rng.random(steps) * step * (rng.random(steps) < 0.7)).astype(np.float32),
            value_target=rng.random(steps).astype(np.float32),
            value_weight=(rng.random(steps) * (rng.random(steps) < 0.7)).astype(np.float32),
            correction=rng.normal(size=steps).astype(np.float32),
            in_set=step & (rng.random(steps) < 0.7),
        )

    return make


@pytest.fixture
def as_processes(monkeypatch):
    """Does work as each of several processes at once, a thread each, which tell each other what
    real ones would: `as_processes(count, work)` gives what each `work()` returned, by number.
    """
    who = threading.local()

    def run(count, work):
        said, barrier = [None] * count, threading.Barrier(count, timeout=60)

        def every(value):
            said[who.index] = value
            barrier.wait()
            heard = list(said)
            barrier.wait()
            return heard

        def process(index):
            who.index = index
            return work()

        with monkeypatch.context() as patch, ThreadPoolExecutor(count) as threads:
            patch.setattr(processes, "count", lambda: count)
            patch.setattr(processes, "index", lambda: who.index)
            patch.setattr(processes, "all_gather", every)
            return list(threads.map(process, range(count)))

    return run
