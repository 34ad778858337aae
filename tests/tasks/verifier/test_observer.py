"""Worlds are asked in worker processes, which may hang, crash and lie."""

import logging
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from expert_iter.tasks import load_task
from expert_iter.tasks.verifier.observer import (
    LOST,
    InProcessObserver,
    ObserverPool,
    make_observer,
)
from expert_iter.tasks.verifier.worker_pool import VerifierConfig
from expert_iter.tasks.world import GOES_ON, ILLEGAL, OVER, Observation

HERE = Path(__file__).parent
PATIENCE = 60.0  # seconds
FOREVER = VerifierConfig(workers=2, seconds=3600.0, megabytes=512)


@pytest.fixture
def hostile(monkeypatch):
    """Makes pools of the hostile world; closes them."""
    monkeypatch.syspath_prepend(HERE)  # workers have this process's path
    import hostile_world

    class HostilePool(ObserverPool):
        _load = staticmethod(hostile_world.HostileTask)

    pools = []

    def make(config=FOREVER):
        pools.append(HostilePool("hostile", {}, config))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


def said(*texts):
    return [("?", text) for text in texts]


def warnings(caplog):
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


def test_observations_of_processes_are_those_of_this_one():
    settings = dict(rules="world", train_size=30, validation_size=5, test_size=5)
    task = load_task("countdown", settings)
    asked = []
    for problem in task.problems("train"):
        a, b, *_ = problem.prompt.split()
        asked += [(problem.prompt, f"{a} {sign} {b} =") for sign in "+-*/"]
        asked += [(problem.prompt, f"{a} + 999 ="), (problem.prompt, "ä\n = \u2028")]
    pool = ObserverPool("countdown", settings, VerifierConfig(workers=3))
    expected = [task.world.observe(*text) for text in asked]
    assert {observation.status for observation in expected} == {GOES_ON, ILLEGAL}
    assert pool.submit(asked).result(PATIENCE) == expected
    assert pool.observe(*asked[0]) == expected[0]
    assert InProcessObserver(task.world).submit(asked).result() == expected
    assert pool.submit([]).result() == []
    pool.close()
    with pytest.raises(RuntimeError, match="the pool of worlds is closed"):
        pool.submit(asked)


@pytest.mark.parametrize(
    "deed, why",
    [
        ("kill", "its process ended by signal 9"),
        ("memory", "out of memory"),
        ("raise", "ValueError: of no value"),
        ("long", "its answer is too long"),
        ("none", "TypeError: "),
        ("number", "no answer given"),
        ("status", "no answer given"),
    ],
)
def test_an_answer_that_cannot_be_given_costs_one_step(hostile, caplog, deed, why):
    pool = hostile()
    texts = said("a", "over b", deed, "illegal c", "a\nd", deed, "over e")
    for _ in range(2):
        found = pool.submit(texts).result(PATIENCE)
        assert [o.status for o in found] == [
            GOES_ON, OVER, ILLEGAL, ILLEGAL, GOES_ON, ILLEGAL, OVER,
        ]  # fmt: skip
        assert found[4] == Observation("?|a\nd") and found[2] == LOST
    lines = warnings(caplog)
    assert len(lines) == 4 and all(
        line.startswith(f"a step counts as illegal: {why}") for line in lines
    )


def test_a_step_that_hangs_is_given_up_and_the_others_are_answered(hostile, caplog):
    pool = hostile(VerifierConfig(workers=1, seconds=1.0, megabytes=512))
    found = pool.submit(said("a", "sleep", "b", "c")).result(PATIENCE)
    assert found == [Observation("?|a"), LOST, Observation("?|b"), Observation("?|c")]
    assert warnings(caplog) == ["a step counts as illegal: not done within 1 seconds"]


def test_a_process_that_is_killed_in_the_middle_is_replaced(hostile, caplog, tmp_path):
    pool = hostile(VerifierConfig(workers=1, seconds=3600.0, megabytes=512))
    first = int(pool.observe("?", "who").text)
    begun = tmp_path / "begun"
    pending = pool.submit(said("a", f"touch {begun}", "b", "who"))
    deadline = time.monotonic() + PATIENCE
    while not begun.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not pending.done()
    os.kill(first, signal.SIGKILL)
    *found, who = pending.result(PATIENCE)
    assert found == [Observation("?|a"), LOST, Observation("?|b")] and int(who.text) != first
    assert warnings(caplog) == ["a step counts as illegal: its process ended by signal 9"]


def test_a_world_says_whether_it_is_safe_here(hostile):
    safe = SimpleNamespace(world=SimpleNamespace(marks=()))
    assert isinstance(make_observer(safe, FOREVER), InProcessObserver)
    task = load_task("countdown", dict(rules="world"))
    assert isinstance(make_observer(task, FOREVER), InProcessObserver)
    task.world.in_process = False
    observer = make_observer(task, FOREVER)
    assert isinstance(observer, ObserverPool)
    observer.close()
