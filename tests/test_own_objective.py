"""An objective from outside the package, in a run that is killed and goes on."""

import contextlib
import importlib.util

import jax
import numpy as np
import pytest

from expert_iter import loop
from expert_iter.assembly import Parts
from expert_iter.config import default_config, settings
from expert_iter.errors import UserError
from expert_iter.learn.batches import Batches
from expert_iter.learn.objectives import OBJECTIVES
from expert_iter.learn.step_tree import flat
from expert_iter.storage import metrics
from tests.test_loop import Killed, make_run

# How many steps are left to the nearest end of the text, by a head of its own; and of each problem
# a text that no search wrote.
SOURCE = """
import dataclasses

import jax.numpy as jnp
import numpy as np

from expert_iter.learn.objectives import OBJECTIVES
from expert_iter.learn.objectives.objective import Lessons, ObjectiveConfig
from expert_iter.learn.step_tree import Column, StepTreeBuilder


@dataclasses.dataclass(frozen=True)
class StepsToGoConfig(ObjectiveConfig):
    most: int = 8


class StepsToGo:
    columns = Column("steps_to_go.left"), Column("steps_to_go.known", dtype="bool")
    heads = ("steps_to_go",)

    def __init__(self, config):
        self.config = config

    def lessons(self, searched, rngs):
        tree = searched.trees
        left = np.where(tree.candidates.valid & tree.candidates.finished, 1.0, np.inf)
        for node in range(left.shape[1] - 1, 0, -1):
            b = np.flatnonzero(tree.live[:, node])
            at = b, tree.parent[b, node], tree.action[b, node]
            left[at] = np.minimum(left[at], 1 + left[b, node].min(-1))
        known = left <= self.config.most
        columns = {"steps_to_go.left": np.where(known, left, 0), "steps_to_go.known": known}
        return Lessons(known, columns, texts={b: [self.text(b)] for b in range(len(known))})

    def text(self, b):
        builder = StepTreeBuilder([1, 5 + b], self.columns)
        builder.give([builder.add(0, (7, 2))], "steps_to_go.known", True)
        return builder.build()

    def loss(self, outputs, batch):
        error = outputs.heads["steps_to_go"] - batch.columns["steps_to_go.left"]
        known = batch.columns["steps_to_go.known"]
        total = jnp.sum(known * error**2)
        return total, {"steps_to_go_loss": (total, jnp.sum(known))}


OBJECTIVES["steps_to_go"] = StepsToGo, StepsToGoConfig
"""
OWN = {
    "optimizer.average": 0.9,
    "learner.updates_per_round": 6,
    "learner.max_passes": 50.0,
    "search.num_simulations": 4,
    "search.num_candidates": 4,
    "learner.objectives": ("improved", "steps_to_go"),
    "improved.nodes": "all",
    "steps_to_go.most": 5,
}


@pytest.fixture(scope="module", autouse=True)
def registered(tmp_path_factory):
    path = tmp_path_factory.mktemp("mine") / "steps_to_go.py"
    path.write_text(SOURCE)
    before = dict(OBJECTIVES)
    spec = importlib.util.spec_from_file_location("steps_to_go", path)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    yield
    OBJECTIVES.clear()
    OBJECTIVES.update(before)


def go_on(run):
    """A round, from wherever the run stands."""
    problems, plays, _ = run.parts.training
    with contextlib.suppress(Killed):
        loop.warm_start(run, plays)
        loop.self_play(run, run.parts.expert(), problems, 1)
        loop.learn(run, plays, 1)
    run.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("own") / "run", **OWN)
    start = jax.device_get(run.params)
    go_on(run)
    return run, start


def window(run):
    trees = run.replay.own(range(len(run.replay)))
    assert len(trees) == len(run.replay)
    return list(trees.values())


def test_it_is_written_in_forty_lines():
    assert len([line for line in SOURCE.splitlines() if line]) <= 40


def test_its_settings_are_a_section_like_others():
    config = default_config("countdown")
    assert config.steps_to_go.to_dict() == {"weight": 1.0, "most": 8}
    assert settings(config).objectives["steps_to_go"].most == 8
    wrong = config.to_dict() | {"steps_to_go": {"weight": 1.0, "most": 0.5}}
    with pytest.raises(UserError, match="steps_to_go.most must be of type int"):
        settings(wrong)


def test_it_trains_its_head_beside_the_other_objective(whole):
    run, start = whole
    assert run.parts.network.heads == ("value", "steps_to_go")
    changed = jax.tree.map(lambda x, y: bool((x != y).any()), start, jax.device_get(run.params))
    of_heads = {name: x for name, x in changed.items() if name.endswith(("_weight", "_bias"))}
    assert of_heads == {
        "steps_to_go_weight": True,
        "steps_to_go_bias": True,
        "value_weight": False,  # nobody teaches it
        "value_bias": False,
    }
    assert all(jax.tree.leaves({name: changed[name] for name in changed if name not in of_heads}))
    learned = metrics.read(run.workdir)[-1]
    assert 0 < learned["learn/steps_to_go_loss"] < 25
    assert np.isfinite(learned["learn/improved_loss"])


def test_its_columns_and_texts_reach_the_replay(whole):
    run, _ = whole
    trees = window(run)
    own = [tree for tree in trees if tree.token[2:].tolist() == [7, 2]]
    assert len(own) == run.settings.run.problems_per_round == 24
    assert {tree.origin.problem for tree in own} == {tree.origin.problem for tree in trees}
    for tree in own:
        assert tree.columns["steps_to_go.known"].tolist() == [False, True]
    left = np.concatenate([tree.columns["steps_to_go.left"] for tree in trees])
    assert {tree.columns["steps_to_go.known"].dtype for tree in trees} == {np.dtype(bool)}
    assert {0, 1, 2} <= set(left.tolist())


def test_a_run_that_is_killed_in_a_search_and_in_an_update_ends_bit_equal(
    whole, tmp_path, monkeypatch
):
    counts, ends = {"search": 0, "update": 0}, [("search", 2), ("update", 7)]

    def dying(what, method):
        def mortal(*arguments, **others):
            counts[what] += 1
            if (what, counts[what]) in ends:
                ends.remove((what, counts[what]))
                raise Killed
            return method(*arguments, **others)

        return mortal

    monkeypatch.setattr(Parts, "distil", dying("search", Parts.distil))
    monkeypatch.setattr(Batches, "make", dying("update", Batches.make))
    for _ in range(3):
        run = make_run(tmp_path / "run", **OWN, **{"run.save_seconds": 0.0})
        go_on(run)
    wanted, _ = whole
    assert not ends and int(run.train.updates) == int(wanted.train.updates) == 9
    jax.tree.map(np.testing.assert_array_equal, *map(jax.device_get, (run.train, wanted.train)))
    # In a checkpoint columns that a tree lacks are zeros.
    jax.tree.map(np.testing.assert_array_equal, flat(window(run)), flat(window(wanted)))
