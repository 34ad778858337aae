"""The loop against a run written out by hand: what happens, in which order, with which problems."""

import contextlib
import dataclasses
import itertools

import jax
import numpy as np
import pytest

from expert_iter import loop
from expert_iter.assembly import assemble
from expert_iter.config import default_config, settings
from expert_iter.errors import UserError
from expert_iter.learn.batches import Batches
from expert_iter.load import read_checkpoint, trained_params
from expert_iter.run import Run
from expert_iter.search.experts import EXPERTS, ExpertSettings
from expert_iter.search.self_play import SelfPlay
from expert_iter.storage import metrics, tree_store
from expert_iter.storage.tree_record import summary_of
from tests.steps import steps_at

CHANGES = {
    "mesh.data": 1,
    "task.train_size": 64,
    "task.validation_size": 8,
    "task.test_size": 8,
    "model.width": 16,
    "model.num_layers": 1,
    "warm_start.updates": 3,
    "learner.rows": 4,
    "learner.row_tokens": 64,
    "learner.row_steps": 16,
    "learner.updates_per_round": 2,
    "run.rounds": 2,
    "run.problems_per_round": 24,
    "run.batch_size": 8,
    "search.num_simulations": 2,
    "search.num_candidates": 2,
    "evaluation.problems": 8,
    "evaluation.batch_size": 8,
    "evaluation.samples": (2,),
    "evaluation.simulations": (2,),
    "evaluation.round_problems": 8,
    "evaluation.round_simulations": 2,
    "evaluation.round_samples": 2,
    "evaluation.num_candidates": 2,
}


def make_run(workdir, **changes):
    config = default_config("countdown")
    config.update_from_flattened_dict(CHANGES | changes)
    workdir.mkdir(exist_ok=True)
    return Run(assemble(settings(config), workdir), workdir)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("loop") / "run"
    run = make_run(workdir)
    results = loop.train(run)
    run.close()
    return workdir, run, results


def test_every_phase_is_there_once_and_in_order(finished):
    workdir, run, results = finished
    phases = [
        sorted({name.split("/")[0] for name in line if "/" in name})
        for line in metrics.read(workdir)
    ]
    one_round = [["search"], ["learn"], ["check"]]
    assert phases == [
        ["warm start"],
        ["check"],
        ["evaluation before training"],
        *one_round,
        *one_round,
        ["evaluation after training"],
    ]
    assert [(row["round"], row["method"]) for row in results if row["when"] == "round"] == [
        (number, method) for number in (0, 1, 2) for method in ("greedy", "mcts")
    ]
    assert {row["when"] for row in results} == {"before", "round", "after"}


def test_a_round_searches_each_of_its_problems_once(finished):
    workdir, run, _ = finished
    problems = run.parts.task.problems("train")
    first, second = (run.problem_batches(problems, number) for number in (1, 2))
    ids = [problem.id for batch in first for problem in batch]
    assert len(ids) == len(set(ids)) == 24
    assert ids != [problem.id for batch in second for problem in batch]
    searched = [line for line in metrics.read(workdir) if "search/problems" in line]
    assert [line["search/problems"] for line in searched] == [24, 24]
    assert all(line["search/tokens"] > 0 for line in searched)


def test_the_parameters_are_those_in_the_checkpoint(finished):
    workdir, run, _ = finished
    saved = trained_params(workdir)
    assert (saved["embedding"] == run.params["embedding"]).all()
    assert int(run.train.updates) >= 3


def test_the_best_checkpoint_is_the_one_of_the_best_check(finished):
    workdir, _, results = finished
    checks = [row for row in results if row["when"] == "round" and row["method"] == "mcts"]
    best = max(checks, key=lambda row: row["accuracy"])  # the first of equals
    saved = read_checkpoint(workdir, "best")
    newest = saved.meta["results"][-1]
    assert [newest[key] for key in ("round", "method", "accuracy")] == [
        best[key] for key in ("round", "method", "accuracy")
    ]
    assert saved.meta["unit"] == 0, "the check is over"


def test_a_run_is_checked_by_its_own_expert(tmp_path):
    """So are the parameters chosen that are kept as the best."""
    changes = {"run.expert": "guess", "run.rounds": 0, "evaluation.round_samples": 2}
    run = make_run(tmp_path / "run", **changes)
    evaluator = run.parts.evaluator()
    loop.check(run, evaluator, round=0)
    run.close()
    rows = [(row["method"], row["budget"]) for row in run.place.results]
    assert rows == [("greedy", 1), ("guess", 2)]
    [line] = metrics.read(tmp_path / "run")
    checked = {name: value for name, value in line.items() if name.startswith("check/")}
    assert checked["check/accuracy"] == run.place.results[1]["accuracy"]
    assert checked["check/greedy_accuracy"] == run.place.results[0]["accuracy"]
    assert (
        read_checkpoint(tmp_path / "run", "best").meta["best"]["accuracy"]
        == (run.place.results[1]["accuracy"])
    )


class Killed(Exception):
    """Stands for whatever ends a process."""


@pytest.mark.slow
def test_a_run_resumed_with_other_sizes_of_batches_does_all_of_its_work_once(tmp_path, monkeypatch):
    """It ends in the midst of a search, goes on, and ends in the midst of learning."""
    searched, updates, ends = [], [], {("search", 2), ("update", 5)}

    def searches(self, params, batches, method=SelfPlay.searches):
        for batch in batches:
            ends_here("search", len(searched) + 1)
            searched.append([problem.id for problem in batch[0]])
            yield from method(self, params, [batch])

    def make(self, update, method=Batches.make):
        ends_here("update", len(updates) + 1)
        updates.append(update)
        return method(self, update)

    def ends_here(what, number):
        if (what, number) in ends:
            ends.remove((what, number))
            raise Killed

    monkeypatch.setattr(SelfPlay, "searches", searches)
    monkeypatch.setattr(Batches, "make", make)
    for changes in (
        {},
        {"run.batch_size": 16, "learner.row_tokens": 32},
        {"run.batch_size": 5, "learner.rows": 2, "learner.row_steps": 7, "replay.max_trees": 5000},
    ):
        run = make_run(tmp_path / "run", **{"run.save_seconds": 0.0}, **changes)
        problems, plays, _ = run.parts.training
        with contextlib.suppress(Killed):
            loop.warm_start(run, plays)
            loop.self_play(run, run.parts.expert(), problems, 1)
            loop.learn(run, plays, 1)
        run.close()
    assert not ends and updates == [0, 1, 2, 0, 1], "three of the warm start, two of the round"
    assert int(run.train.updates) == 5
    assert [len(ids) for ids in searched] == [8, 16] and len(set(sum(searched, []))) == 24
    [line] = [line for line in metrics.read(run.workdir) if "search/problems" in line]
    assert line["search/problems"] == 24


def test_tokens_per_round_end_the_search_at_the_nearest_batch(tmp_path):
    run = make_run(tmp_path / "run", **{"run.expert": "guess", "guess.num_samples": 2})
    expert, problems, s = run.parts.expert(), run.parts.task.problems("train"), run.settings

    def searched(tokens):
        run.settings = dataclasses.replace(
            s, run=dataclasses.replace(s.run, tokens_per_round=int(tokens))
        )
        loop.self_play(run, expert, problems, 1)
        line = metrics.read(run.workdir)[-1]
        return line["search/problems"], line["search/tokens"]

    count, whole = searched(0)
    assert count == 24  # three batches, of about as many tokens each: the network is a fresh one
    assert [searched(share * whole)[0] for share in (0.1, 0.4, 0.6, 0.75)] == [8, 8, 16, 16]
    run.close()


SEVERAL = "improved", "set_normalised", "step_preferences", "policy_gradient"


@pytest.mark.parametrize(
    "policies",
    [
        ("step_preferences",),
        ("policy_gradient",),
        pytest.param(SEVERAL, marks=pytest.mark.slow),
    ],
    ids=" and ".join,
)
def test_two_rounds_with_other_objectives(tmp_path, policies):
    """What searches leave teaches each of them, and each round moves all parameters."""
    changes = {f"{name}.weight": 0.5 for name in policies}
    changes |= {"improved.nodes": "all", "set_normalised.nodes": "all"}
    changes |= {"learner.objectives": (*policies, "value"), "warm_start.updates": 0}
    changes |= {"search.num_candidates": 6}  # more than are visited, which have the head's opinion
    run = make_run(tmp_path / "run", **changes)
    # A fresh head thinks the same of all.
    opinion = np.random.default_rng(0).normal(size=16).astype(np.float32)
    run.train = run.learner.init(jax.device_get(run.params) | {"value_weight": opinion})
    expert, problems = run.parts.expert(), run.parts.task.problems("train")
    plays = run.parts.plays(problems)
    for round in (1, 2):
        before = jax.device_get(run.params)
        loop.self_play(run, expert, problems, round)
        loop.learn(run, plays, round)
        moved = jax.tree.map(lambda x, y: (x != y).any(), before, jax.device_get(run.params))
        assert all(jax.tree.leaves(moved))
    run.close()
    learned = [line for line in metrics.read(run.workdir) if "learn/value_loss" in line]
    figures = [np.array([line[key] for key in line if "_loss" in key]) for line in learned]
    assert len(figures) == 2 and np.isfinite(figures).all()
    assert figures[0].shape == (len(policies) + 2,), "imitation and the value beside them"
    trees = run.replay.own(range(len(run.replay))).values()
    for name in policies:
        columns = [x for t in trees for key, x in t.columns.items() if key.startswith(f"{name}.")]
        assert np.isfinite(np.concatenate(columns)).all() and np.concatenate(columns).any()


def kinds_of_experts():
    """The first name of each kind of search: the others have another rule, policy or sampler, and
    are compiled alike (tests/search/test_experts.py has them all).
    """
    made, kinds = settings(default_config("countdown")), {}
    for name in sorted(set(EXPERTS) - {"greedy"}):
        expert = EXPERTS[name](
            None, ExpertSettings(made.search, made.sampler, made.guess), steps_at(3)
        )
        rollouts, commit = (getattr(expert.config, key, 0) for key in ("rollouts", "commit"))
        kinds.setdefault((type(expert), rollouts > 0, commit), name)
    return sorted(set(kinds.values()) - {made.run.expert})  # which drives the runs above


@pytest.fixture(scope="module")
def going(tmp_path_factory):
    changes = {"run.problems_per_round": 8, "optimizer.warmup_updates": 0}
    run = make_run(tmp_path_factory.mktemp("kinds") / "run", **changes)
    yield run, run.parts.plays(run.parts.task.problems("train"))
    run.close()


@pytest.mark.slow
@pytest.mark.parametrize("expert", kinds_of_experts())
def test_each_kind_of_expert_can_drive_the_loop(expert, going):
    """A round: it searches with the verifier, and the network learns from what it leaves."""
    run, plays = going
    s = run.settings
    guess = dataclasses.replace(s.guess, num_samples=8)
    changed = dataclasses.replace(s, guess=guess, run=dataclasses.replace(s.run, expert=expert))
    parts = dataclasses.replace(run.parts, settings=changed)
    before, added = jax.device_get(run.params["embedding"]), run.replay.total
    loop.self_play(run, parts.expert(), run.parts.task.problems("train"), 1)
    loop.learn(run, plays, 1)
    searched, learned = metrics.read(run.workdir)[-2:]
    assert searched["search/problems"] == 8
    assert searched["search/tokens"] > 0 and searched["search/flops"] > 0
    assert run.replay.total > added, "wrong solutions at least teach the value head"
    assert np.isfinite(learned["learn/improved_loss"])
    assert not (run.params["embedding"] == before).all()


def test_a_run_without_a_checkpoint_has_no_parameters(tmp_path):
    with pytest.raises(UserError, match="no checkpoint"):
        trained_params(tmp_path)


def kept_summaries(run):
    """Summaries of the trees that a run kept, by file."""
    folder = run.workdir / "trees"
    return {
        file[:]: [summary_of(record) for record in tree_store.read(folder, file)]
        for file in tree_store.stored(folder)
    }


def test_the_trees_of_every_search_are_kept_and_those_of_evaluations_are_not(finished):
    _, run, _ = finished
    problems, kept = run.parts.task.problems("train"), kept_summaries(run)
    assert list(kept) == [(number, unit, 0) for number in (1, 2) for unit in range(3)]
    for number, updates in ((1, 3), (2, 5)):
        batches = run.problem_batches(problems, number)
        for unit, batch in enumerate(batches):
            found = kept[number, unit, 0]
            assert [tree.problem for tree in found] == [problem.id for problem in batch]
            assert {(tree.round, tree.unit, tree.updates) for tree in found} == {
                (number, unit, updates)
            }
            assert {tree.expert for tree in found} == {"mcts"}


def play_rounds(run, ends_at=None):
    """A warm start and two rounds, without evaluation. The search of this number ends the run."""
    problems, plays, _ = run.parts.training
    expert, numbers = run.parts.expert(), itertools.count(len(kept_summaries(run)))

    class Ending:
        def searches(self, params, batches):
            for found in expert.searches(params, batches):
                if next(numbers) == ends_at:
                    raise Killed
                yield found

    with contextlib.suppress(Killed):
        loop.warm_start(run, plays)
        for number in (1, 2):
            loop.self_play(run, Ending(), problems, number)
            loop.learn(run, plays, number)
    run.close()
    return run


@pytest.fixture(scope="module")
def reanalysed(tmp_path_factory):
    changes = {"replay.reanalyse": 0.5, "run.save_seconds": 0.0}
    return play_rounds(make_run(tmp_path_factory.mktemp("reanalysed") / "run", **changes))


def test_half_of_a_round_is_searched_again_and_teaches_by_its_newest_search_alone(reanalysed):
    run, problems = reanalysed, reanalysed.parts.task.problems("train")
    again = {problems[i].id for i in run.place.searched_again}
    by_round = {1: set(), 2: set()}
    for (number, _, _), trees in kept_summaries(run).items():
        by_round[number] |= {tree.problem for tree in trees}
    assert len(again) == 12 and again <= by_round[1] & by_round[2]
    assert {len(ids) for ids in by_round.values()} == {24}
    rounds = {(origin.problem, origin.round) for origin in run.replay.origins}
    assert {number for problem, number in rounds if problem in again} == {2}
    assert {number for problem, number in rounds if problem not in again} == {1, 2}
    searches = [line for line in metrics.read(run.workdir) if "search/problems" in line]
    assert [line.get("search/searched_again") for line in searches] == [None, 12]


@pytest.mark.slow
def test_a_round_of_past_problems_that_is_resumed_ends_as_if_it_had_not_stopped(
    reanalysed, tmp_path
):
    changes = {"replay.reanalyse": 0.5, "run.save_seconds": 0.0}
    killed = play_rounds(make_run(tmp_path / "run", **changes), ends_at=4)
    assert len(kept_summaries(killed)) == 4, "in the midst of the second round"
    resumed = play_rounds(make_run(tmp_path / "run", **changes))
    assert resumed.place.searched_again == reanalysed.place.searched_again
    assert resumed.replay.origins == reanalysed.replay.origins
    assert kept_summaries(resumed) == kept_summaries(reanalysed)
    for ours, theirs in zip(
        *(jax.tree.leaves(run.params) for run in (resumed, reanalysed)), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_what_a_search_misses_teaches_in_hindsight(tmp_path):
    changes = {"learner.hindsight": 1.0, "run.expert": "guess", "guess.num_samples": 16}
    run = make_run(tmp_path / "run", **changes)
    run.parts.task.relabel = lambda problem, text: (problem, "3 + 5 = 8 : 8")
    loop.self_play(run, run.parts.expert(), run.parts.training.problems, 1)
    run.close()
    trees = run.replay.own(range(len(run.replay))).values()
    taught = [tree.origin.problem for tree in trees if np.any(tree.columns.get("imitation.weight"))]
    unsolved = [
        found.problem
        for search in kept_summaries(run).values()
        for found in search
        if not found.solved
    ]
    assert 0 < len(taught) == len(set(taught)) and set(taught) <= set(unsolved)
