"""Which checkpoint is the best, and how one is asked for, on rounds that are played by hand."""

import shutil
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from expert_iter import run as run_lib
from expert_iter.assembly import assemble
from expert_iter.config import default_config, settings
from expert_iter.errors import UserError
from expert_iter.learn.step_tree import StepTreeBuilder
from expert_iter.load import describe, load_params, read_checkpoint, trained_params
from expert_iter.measure.comparison.comparison import Comparison
from expert_iter.pod import collectives
from expert_iter.run import Run
from expert_iter.storage import metrics
from expert_iter.storage.checkpoints import Checkpoints
from tests.storage.test_checkpoints import damage, files_of
from tests.test_loop import CHANGES


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """Makes runs in a workdir, all of the same parts but for these settings."""
    assembled = {}

    def make(workdir, save_seconds=1e9, average=0.0, **others):
        wanted = (("run.save_seconds", save_seconds), ("optimizer.average", average))
        wanted += tuple((key.replace("__", "."), value) for key, value in others.items())
        if wanted not in assembled:
            config = default_config("countdown")
            config.update_from_flattened_dict(CHANGES | dict(wanted))
            assembled[wanted] = assemble(settings(config), tmp_path_factory.mktemp("parts"))
        return Run(assembled[wanted], workdir)

    return make


class FakeClock:
    def __init__(self, start):
        self.start, self.seconds = start, 0

    def monotonic(self):
        return self.start + self.seconds


def play(run, accuracies):
    """Rounds of a phase that makes every parameter the round's number, and one that checks them."""
    for round, accuracy in enumerate(accuracies, 1):
        for _ in run.phase("learn", 1, "update", round):
            everywhere = jax.tree.map(lambda x: jnp.full_like(x, round), run.train.trained)  # noqa: B023
            run.train = run.train._replace(trained=everywhere)
        for unit in run.phase("check", 2, "method", round):
            method, figure, found = [
                ("greedy", "greedy_accuracy", 0.9 / round),
                ("mcts", "accuracy", accuracy),
            ][unit]
            run.place.results.append({"when": "round", "round": round, "method": method})
            run.note(**{figure: found})
    run.close()


def round_of(workdir, checkpoint):
    """Whose parameters these are."""
    leaves = jax.tree.leaves(trained_params(workdir, checkpoint))
    (number,) = {float(x) for leaf in leaves for x in (leaf.min(), leaf.max())}
    return number


def positions(workdir):
    return Checkpoints(workdir / "checkpoints").positions()


@pytest.mark.parametrize(
    "accuracies, best",
    [([0.0], 1), ([0.2, 0.5, 0.5, 0.4], 2), ([0.5, 0.4, 0.3, 0.2], 1), ([0.1, 0.2, 0.3], 3)],
    ids=["the first counts", "ties do not", "falling", "rising"],
)
def test_the_best_by_tree_search_stays_beside_the_newest(make, tmp_path, accuracies, best):
    play(make(tmp_path), accuracies)
    newest = 2 * len(accuracies) - 1  # a save a phase, from 0
    assert positions(tmp_path) == sorted({2 * best - 1, newest - 1, newest})
    assert round_of(tmp_path, "best") == best
    assert round_of(tmp_path, "last") == round_of(tmp_path, str(newest)) == len(accuracies)
    said = describe(read_checkpoint(tmp_path, "best"))
    assert said == f"checkpoint {2 * best - 1}, last evaluated after round {best}"


def test_the_mean_of_the_parameters_is_what_a_checkpoint_searches_with(make, tmp_path):
    run = make(tmp_path, average=0.9)
    for _ in run.phase("learn", 1, "update"):
        newest, mean = (
            jax.tree.map(lambda x: jnp.full_like(x, number), run.train.trained)  # noqa: B023
            for number in (3, 2)
        )
        run.train = run.train._replace(trained=newest, averaged=mean)
    run.close()
    assert round_of(tmp_path, "last") == 2
    resumed = make(tmp_path, average=0.9)
    for params, number in (
        (resumed.train.trained, 3),
        (resumed.train.averaged, 2),
        (resumed.params, 2),
    ):
        assert all((x == number).all() for x in jax.tree.leaves(params))


def test_a_phase_saves_by_the_clock_which_processes_seldom_compare(make, tmp_path, monkeypatch):
    """Units of a second, then of four: a save a minute, and one at the end of the phase."""
    run = make(tmp_path, save_seconds=60.0)
    clock, saved, asked = FakeClock(run._saved_at), [], []
    all_gather = collectives.all_gather
    monkeypatch.setattr(run_lib, "time", clock)
    monkeypatch.setattr(run, "_checkpoints", mock.Mock())
    run._checkpoints.start_saving = lambda *_, **__: saved.append(clock.seconds)
    monkeypatch.setattr(
        collectives, "all_gather", lambda value: asked.append(value) or all_gather(value)
    )
    for unit in run.phase("learn", 200, "update"):
        clock.seconds += 1 if unit < 140 else 4
    gaps = np.diff([0, *saved])
    assert gaps[:2].tolist() == [60, 60] and (gaps[2:-1] <= 60 + 32).all()
    assert len(asked) < 50


def test_a_resumed_run_remembers_the_best(make, tmp_path):
    accuracies = [0.2, 0.5, 0.3, 0.4, 0.6, 0.1]
    for rounds, best in ((3, 2), (4, 2), (5, 5), (6, 5)):
        play(make(tmp_path), accuracies[:rounds])
        assert (round_of(tmp_path, "best"), round_of(tmp_path, "last")) == (best, rounds)
    assert positions(tmp_path) == [9, 10, 11]


def search(run, problems, units=None):
    """Round 1 as the loop plays it, but for the search itself; the run is left after `units`.

    Returns the ids of the problems in each batch.
    """
    batches, found = run.problem_batches(problems, 1), []
    for unit in run.phase("search", len(batches), "batch", 1):
        if len(found) == units:
            break
        ids = [problem.id for problem in batches[unit] if problem]
        found.append(ids)
        run.count(problems=len(ids), problems_left_out=len(batches[unit]) - len(ids))
    run.close()
    return found


@pytest.mark.parametrize("size", [5, 16])
def test_a_search_resumed_with_other_batches_goes_on_with_the_next_problem(make, tmp_path, size):
    run = make(tmp_path, save_seconds=0.0)
    problems = run.parts.task.problems("train")
    whole = [problem.id for problem in sum(run.problem_batches(problems, 1), [])]
    done = search(run, problems, units=2)
    rest = search(make(tmp_path, run__batch_size=size), problems)
    assert [len(ids) for ids in done] == [8, 8] and {len(ids) for ids in rest[:-1]} <= {size}
    assert sum(done + rest, []) == whole and len(set(whole)) == 24


def test_problems_left_out_of_a_search_are_replaced_by_others(make, tmp_path):
    """The first batch draws some of them; fewer are left out when the run is resumed."""
    run = make(tmp_path, save_seconds=0.0)
    problems = run.parts.task.problems("train")
    order = sum(run.problem_batches(problems, 1), [])
    without = lambda left_out: [None if p in left_out else p for p in problems]  # noqa: E731
    done = search(run, without([order[0], order[3], order[4], order[10], order[20]]), units=1)
    rest = search(make(tmp_path), without([order[4], order[23]]))
    ids = [problem.id for problem in order]
    assert done == [[ids[i] for i in (1, 2, 5, 6, 7, 8, 9, 11)]]
    rest = sum(rest, [])
    assert rest[:11] == ids[12:23], "what was passed over stays so, what is to come counts again"
    assert len(rest) == 16 and not {ids[4], ids[10], ids[23]} & set(rest)
    [line] = [line for line in metrics.read(tmp_path) if "search/problems" in line]
    assert (line["search/problems"], line["search/problems_left_out"]) == (24, 5)


def test_a_phase_that_is_resumed_keeps_its_number_of_updates(make, tmp_path):
    """Which a round's replay allows by the size of a batch."""
    run = make(tmp_path, save_seconds=0.0, learner__updates_per_round=10)
    tree = StepTreeBuilder([1] * 272).build()
    run.replay.add({0: [tree]})  # four passes are five batches of 4 · 64 · 0.85 tokens

    def updates(run, most=None):
        made = 0
        for _ in run.phase("learn", run.updates_worth_making(), "update"):
            if made == most:
                break
            made += 1
        return made

    assert updates(run, most=3) == 3
    run.close()
    resumed = make(tmp_path, learner__updates_per_round=10, learner__rows=16)
    assert updates(resumed) == 2
    assert resumed.updates_worth_making() == 1, "the next phase has batches four times as large"
    resumed.close()


def test_a_run_killed_after_the_last_unit_of_a_check_finds_the_best(make, tmp_path, monkeypatch):
    """Between the save of that unit and the one that ends the phase."""
    run = make(tmp_path, save_seconds=0.0)
    write = run._metrics.write

    def killed(number, figures):
        if number == 3:
            raise KeyboardInterrupt
        write(number, figures)

    monkeypatch.setattr(run._metrics, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        play(run, [0.2, 0.5, 0.3])
    run.close()
    assert round_of(tmp_path, "best") == 1 and positions(tmp_path) == [4, 7, 8]
    play(make(tmp_path, save_seconds=0.0), [0.2, 0.5, 0.3])
    assert round_of(tmp_path, "best") == 2
    assert positions(tmp_path) == [9, 13, 14]  # a round saves after three units and two phases


def test_a_checkpoint_from_before_there_was_a_best(make, tmp_path):
    play(make(tmp_path), [0.2, 0.5])
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    old = checkpoints.restore()
    meta = {key: value for key, value in old.meta.items() if key != "best"}
    checkpoints.save(old.position, old.arrays, meta, share=old.shares[0])
    assert round_of(tmp_path, "last") == 2
    with pytest.raises(UserError, match="records no best one .* or a position: 2, 3$"):
        read_checkpoint(tmp_path, "best")
    play(make(tmp_path), [0.2, 0.5, 0.1])
    assert round_of(tmp_path, "best") == 3  # the first that is known


def test_mistakes_say_what_there_is(make, tmp_path):
    with pytest.raises(UserError, match="not 'first'; positions in .*: none"):
        trained_params(tmp_path, "first")
    for checkpoint in ("last", "best"):
        with pytest.raises(UserError, match="has no checkpoint yet; train first"):
            trained_params(tmp_path, checkpoint)
    play(make(tmp_path), [0.5, 0.4, 0.3])
    for word in ("first", "", "-1", "1.0", "Best"):
        with pytest.raises(UserError, match=f"not '{word}'; positions in .*: 1, 4, 5$"):
            trained_params(tmp_path, word)
    with pytest.raises(UserError, match="no checkpoint 3 in .*; there are: 1, 4, 5$"):
        trained_params(tmp_path, "3")
    params = [path for path in files_of(tmp_path / "checkpoints", 1) if "params" in str(path)]
    damage(params[-1], "flipped")
    for checkpoint in ("1", "best"):
        with pytest.raises(
            UserError, match="damaged: checkpoint 1 .*; name another one, there are: 1, 4, 5$"
        ):
            trained_params(tmp_path, checkpoint)
    assert round_of(tmp_path, "4") == 3
    shutil.rmtree(tmp_path / "checkpoints" / "000001.0")
    with pytest.raises(UserError, match="no checkpoint 1 in .*; there are: 4, 5$"):
        trained_params(tmp_path, "best")


def test_two_checkpoints_share_no_rows_of_a_comparison(make, tmp_path):
    run = make(tmp_path)
    play(run, [0.5, 0.4, 0.3])
    problems = run.parts.task.problems("test")[:2]

    def rows_file(checkpoint):
        params = load_params(tmp_path, run.parts, checkpoint)
        who = run.parts.evaluator(), run.parts.verifier, params
        return Comparison(*who, problems, tmp_path / "comparison")._rows_file

    assert rows_file("best") == rows_file("1") != rows_file("last")
    assert rows_file("last") == rows_file("4") == rows_file("5")  # of one network
