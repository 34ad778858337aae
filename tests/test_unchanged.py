"""Nothing that is computed has changed: tiny runs end with the parameters that they ended with.

The hashes hold for the compiler and the CPU that they were made on; elsewhere, where the warm start
alone comes to other digits, there is nothing to compare. EXPERT_ITER_WRITE_HASHES=1 writes them.
"""

import functools
import hashlib
import json
import os
from pathlib import Path

import jax
import numpy as np
import pytest

from expert_iter import loop
from expert_iter.search.experts import EXPERTS
from tests.test_loop import make_run

HASHES = Path(__file__).with_name("unchanged.json")
WRITE = os.environ.get("EXPERT_ITER_WRITE_HASHES") == "1"
TINY = {
    "task.train_size": 64,
    "task.largest": 6,
    "task.max_value": 12,
    "task.max_target": 10,
    "model.width": 32,
    "search.num_candidates": 3,
    "search.root_candidates": 5,
    "search.num_simulations": 6,
    "search.max_steps": 3,
    "guess.num_samples": 8,
    "warm_start.updates": 300,
    "run.rounds": 1,
    "run.problems_per_round": 32,
    "run.batch_size": 16,
    "learner.rows": 8,
    "learner.row_tokens": 128,
    "learner.row_steps": 48,
    "learner.updates_per_round": 3,
    "improved.value_scale": 0.2,
    "set_normalised.value_scale": 0.2,
}
VARIANTS = {
    "warm start": {"run.rounds": 0},
    **{expert: {"run.expert": expert} for expert in EXPERTS},
    "winners": {"learner.objectives": ("winners", "value")},
    "all nodes": {"improved.nodes": "all", "value.mix": 0.5},
    "root": {"improved.nodes": "root", "improved.min_visits": 2},
    "set": {
        "learner.objectives": ("set_normalised", "value"),
        "set_normalised.nodes": "all",
    },
    "winners of a set": {
        "learner.objectives": ("set_normalised", "value"),
        "set_normalised.towards": "winners",
    },
    "winners of guesses": {
        "run.expert": "guess",
        "learner.objectives": ("winners", "value"),
    },
    "adamw": {"optimizer.name": "adamw", "optimizer.average": 0.9},
    "muon": {"optimizer.name": "muon", "optimizer.average": 0.9},
    "until solved": {"search.stop_when_solved": True},
    "without replacement": {"sampler.replacement": False},
    "with replacement": {"sampler.replacement": True},
}


@functools.cache
def warm(workdir, **optimizer):
    """The training state after a warm start."""
    run = make_run(workdir, **{**TINY, **optimizer})
    loop.warm_start(run, run.parts.plays(run.parts.task.problems("train")))
    run.close()
    return jax.device_get(run.train)


def hash_of(workdir, changes) -> str:
    """Of the trees of the last batch, and of all that training keeps."""
    run = make_run(workdir / "run", **{**TINY, **changes})
    optimizer = {key: value for key, value in changes.items() if key.startswith("optimizer.")}
    run.train = jax.device_put(warm(workdir.parent / f"warm {optimizer}", **optimizer))
    problems = run.parts.task.problems("train")
    plays, expert = run.parts.plays(problems), run.parts.expert()
    run.place.phase = run._next_phase = 1
    arrays = []
    for round in range(1, run.settings.run.rounds + 1):
        loop.self_play(run, expert, problems, round)
        loop.learn(run, plays, round)
        found = next(expert.searches(run.params, [(problems[:16], jax.random.key(round))]))
        tree, drawn = found.trees, found.trees.candidates
        arrays = [tree.live, tree.parent, drawn.token, drawn.count, drawn.prior_logit]
        arrays += [tree.value, tree.won, tree.visits, tree.q]
    run.close()
    digest = hashlib.sha256()
    for leaf in [*arrays, *jax.tree.leaves(jax.device_get(run.train))]:
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()[:16]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    kept = json.loads(HASHES.read_text()) if HASHES.exists() else {}
    here = hash_of(tmp_path_factory.mktemp("canary"), VARIANTS["warm start"])
    if not WRITE and kept["warm start"] != here:
        pytest.skip("the hashes are of another machine or compiler")
    yield kept
    if WRITE:
        HASHES.write_text(json.dumps(kept, indent=1) + "\n")


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_a_tiny_run_ends_with_the_same_parameters(kept, tmp_path, name):
    now = hash_of(tmp_path, VARIANTS[name])
    if WRITE:
        kept[name] = now
    assert kept[name] == now
