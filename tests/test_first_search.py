"""A first expert tries a round's problems; `run.expert` searches those that it did not solve."""

import contextlib
import zlib

import numpy as np
import pytest

from expert_iter import loop
from expert_iter.config import FIRST_SEARCH
from expert_iter.storage import metrics
from tests.test_loop import Killed, kept_summaries, make_run

CHANGES = {
    "run.first_expert": "guess",
    "guess.num_samples": 16,
    "run.save_seconds": 0.0,
}


def is_right(problem, solution):
    """A verdict that a network which knows nothing can get."""
    return zlib.crc32(f"{problem.id} {solution}".encode()) % 3 == 0


def play(workdir, ends_at=None, **changes):
    """A round's searches without what is learned from them. The search of this number ends it."""
    run = make_run(workdir, **CHANGES, **changes)
    run.parts.task.verdict = is_right
    problems = run.parts.training.problems
    numbers = iter(range(len(kept_summaries(run)), 100))

    class Ending:
        def __init__(self, expert):
            self._expert = expert

        def searches(self, params, batches):
            for found in self._expert.searches(params, batches):
                if next(numbers) == ends_at:
                    raise Killed
                yield found

    with contextlib.suppress(Killed):
        first, expert = (Ending(run.parts.expert(name)) for name in ("guess", "mcts"))
        loop.self_play(run, first, problems, 1, phase=FIRST_SEARCH)
        loop.self_play(run, expert, problems, 1)
    run.close()
    return run


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    return play(tmp_path_factory.mktemp("first") / "run")


def by_expert(run):
    """The kept trees' summaries, by the expert that searched."""
    trees = [tree for found in kept_summaries(run).values() for tree in found]
    return {name: [t for t in trees if t.expert == name] for name in ("guess", "mcts")}


def test_what_the_first_expert_solves_is_not_searched_again(played):
    trees = by_expert(played)
    unsolved = [tree.problem for tree in trees["guess"] if not tree.solved]
    assert len(trees["guess"]) == 24 and 0 < len(unsolved) < 24
    assert [tree.problem for tree in trees["mcts"]] == unsolved
    first, second = metrics.read(played.workdir)
    assert first["first search/problems"] == 24 and second["search/problems"] == len(unsolved)
    assert first["first search/solved"] == pytest.approx(1 - len(unsolved) / 24)


def test_both_experts_teach(played):
    origins = played.replay.origins
    trees = by_expert(played)
    assert {o.problem for o in origins} <= {tree.problem for tree in trees["guess"]}
    searches = {(file[0], file[1]) for file in kept_summaries(played)}
    assert {(o.round, o.unit) for o in origins} <= searches
    batches_of_first = 3
    assert max(unit for _, unit in searches) == played.place.searches - 1 >= batches_of_first
    assert any(o.unit < batches_of_first for o in origins)
    assert any(o.unit >= batches_of_first for o in origins)


@pytest.mark.parametrize("ends_at", [1, 3, 4])
def test_a_run_killed_in_either_search_resumes_as_if_it_had_not_been(tmp_path, played, ends_at):
    play(tmp_path / "run", ends_at)
    resumed = play(tmp_path / "run")
    assert kept_summaries(resumed) == kept_summaries(played)
    for name, array in played.replay.arrays().items():
        np.testing.assert_array_equal(resumed.replay.arrays()[name], array, err_msg=name)


def test_tokens_of_both_searches_count(tmp_path, played):
    """A batch whose cost is not known is begun while there is something left."""
    tokens = int(metrics.read(played.workdir)[0]["first search/tokens"])
    assert played.place.searches == 5, "three batches of the first expert, and two"
    for limit, batches in ((tokens - 1, 3), (tokens + 1, 4)):
        run = play(tmp_path / f"{batches}", **{"run.tokens_per_round": limit})
        assert run.place.searches == batches
