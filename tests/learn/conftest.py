"""Random step trees, and stand-ins for the other processes of a run."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from expert_iter.learn.step_tree import Origin, StepTree
from expert_iter.pod import collectives, processes
from tests.learn.trees import COLUMNS

VOCAB = 12


@pytest.fixture(scope="session")
def random_tree():
    """Makes a tree of `steps` steps of 1 to 3 tokens, each after a random earlier one."""

    def make(rng, steps=6, prompt=3):
        length = rng.integers(1, 4, steps)
        length[0] = prompt
        parent = np.array([-1, *(rng.integers(0, g) for g in range(1, steps))])
        step = np.arange(steps) > 0
        token = rng.integers(0, VOCAB, length.sum())
        weight = rng.random(steps) * step * (rng.random(steps) < 0.7)
        value_target = rng.random(steps)
        value_weight = rng.random(steps) * (rng.random(steps) < 0.7)
        correction = rng.normal(size=steps)
        in_set = step & (rng.random(steps) < 0.7)
        (more,) = rng.spawn(1)
        compared = step & (more.random(steps) < 0.7)
        depth = np.zeros(steps, int)
        for g in range(1, steps):
            depth[g] = depth[parent[g]] + 1
        likely = -2.5 * length + 0.2 * more.normal(size=steps)
        advantage = more.normal(size=steps) * step * (more.random(steps) < 0.7)
        taken = more.integers(1, 3, steps).clip(max=depth) * (advantage != 0)
        columns = {
            "imitation.weight": np.zeros(steps),
            "world.observed": np.zeros(steps),
            "improved.weight": weight,
            "set_normalised.weight": weight,
            "set_normalised.correction": correction,
            "set_normalised.in_set": in_set,
            "step_preferences.q": more.integers(0, 9, steps) / 8 * compared,
            "step_preferences.reference": likely * compared,
            "step_preferences.compared": compared,
            "policy_gradient.advantage": advantage,
            "policy_gradient.weight": more.random(steps) * (advantage != 0),
            "policy_gradient.behaviour": likely * taken,
            "policy_gradient.steps": taken,
            "value.target": value_target,
            "value.weight": value_weight,
        }
        return StepTree(
            token=token.astype(np.int32),
            length=length.astype(np.int32),
            parent=parent.astype(np.int32),
            columns={c.name: columns[c.name].astype(c.dtype) for c in COLUMNS},
            origin=Origin(f"train-{more.integers(99)}", *more.integers(0, 9, 3).tolist()),
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
            patch.setattr(collectives, "all_gather", every)
            return list(threads.map(process, range(count)))

    return run
