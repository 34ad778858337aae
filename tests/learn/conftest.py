"""A tiny network, and random step trees for it."""

import numpy as np
import pytest

from expert_iter.learn.step_tree import StepTree

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
