import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from expert_iter.errors import UserError
from expert_iter.tasks import Problem, load_task
from expert_iter.tasks.verifier.pool import (
    InProcessVerifier,
    VerifierConfig,
    VerifierPool,
    make_verifier,
)

HERE = Path(__file__).parent
PATIENCE = 60.0  # seconds; far more than anything here takes on an idle machine
FOREVER = VerifierConfig(workers=2, seconds=3600.0, megabytes=512)
BRIEFLY = VerifierConfig(workers=2, seconds=2.0, megabytes=512)
PROBLEMS = [Problem(f"p{i}", "?", "abc"[i % 3]) for i in range(9)]


@pytest.fixture
def hostile(monkeypatch):
    """Makes pools of the hostile task; closes them."""
    monkeypatch.syspath_prepend(HERE)  # workers have this process's path
    import hostile_task

    class HostilePool(VerifierPool):
        _load = staticmethod(hostile_task.HostileTask)

    pools = []

    def make(config=BRIEFLY, **settings):
        pools.append(HostilePool("hostile", settings, config))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


def children(parent: int) -> set[int]:
    """Processes started by another, those that have ended but not been waited for left out."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, its_parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(its_parent) == parent and state not in "ZX":
            found.add(int(path.parent.name))
    return found


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def eventually(condition) -> bool:
    end = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def test_verdicts_are_those_of_a_plain_loop():
    settings = {"train_size": 300}
    task = load_task("countdown", settings)
    rng = np.random.default_rng(0)
    problems = [problem for problem in task.problems("train") for _ in range(4)]
    solutions = [task.demonstration(problem, rng) for problem in problems]
    solutions[5] = solutions[-1] = None
    expected = [
        s is not None and task.verdict(p, s) for p, s in zip(problems, solutions, strict=True)
    ]
    assert 10 < sum(expected) < len(expected) - 10
    with VerifierPool("countdown", settings, VerifierConfig(workers=3)) as pool:
        assert pool.verify(problems, solutions) == expected
        futures = [pool.submit(problems[i : i + 7], solutions[i : i + 7]) for i in range(0, 99, 7)]
        assert sum((f.result(PATIENCE) for f in futures), []) == expected[: 15 * 7]
    assert InProcessVerifier(task).verify(problems, solutions) == expected
    assert InProcessVerifier(task).submit(problems, solutions).result() == expected


def test_nobody_is_asked_about_nothing(hostile):
    before = children(os.getpid())
    pool = hostile(start="exit")
    assert pool.verify([], []) == []
    assert pool.verify(PROBLEMS[:2], [None, None]) == [False, False]
    assert children(os.getpid()) == before
    with pytest.raises(ValueError):
        pool.verify(PROBLEMS, ["a"])


@pytest.mark.parametrize(
    "deed, why",
    [
        ("sleep", "not done within 2 seconds"),
        ("spin_in_c", "not done within 2 seconds"),
        ("stop", "not done within 2 seconds"),
        ("raise", "ValueError: of no value"),
        ("raise_unspeakable", "Unspeakable"),
        ("recurse", "RecursionError"),
        ("sys_exit", "SystemExit"),
        ("interrupt", "KeyboardInterrupt"),
        ("os_exit", "its process ended with exit code 0"),
        ("kill", "its process ended by signal 9"),
        ("crash", "its process ended by signal 11"),
        ("memory", "out of memory"),
        ("memory_in_c", "out of memory"),
        ("close_files", "its process ended"),
        ("write_everywhere", "no answer given"),
        ("start_another", "not done within 2 seconds"),
    ],
)
def test_a_hostile_verifier_costs_one_verdict(hostile, caplog, deed, why):
    pool = hostile(BRIEFLY if why.startswith("not done") else FOREVER)
    solutions = ["a", deed, "a", "a", deed, "c", "x", "b", "c"]
    expected = [True, False, False, True, False, True, False, True, True]
    assert pool.verify(PROBLEMS, solutions) == expected
    assert pool.verify(PROBLEMS, ["a"] * 9) == [True, False, False] * 3
    logged = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert sorted(record.args[0] for record in logged) == ["p1", "p4"]
    assert all(record.args[1].startswith(why) for record in logged)


@pytest.mark.parametrize("deed", ["print", "fork", "look_for_jax"])
def test_what_disturbs_nobody(hostile, caplog, deed):
    pool = hostile(FOREVER)
    for _ in range(3):
        assert pool.verify(PROBLEMS, ["b", deed] * 4 + ["b"]) == [
            True if i % 2 else i % 3 == 1 for i in range(9)
        ]
    assert not caplog.records


def test_a_hang_holds_up_nobody_who_comes_later(hostile):
    pool = hostile(FOREVER)
    pool.verify(PROBLEMS * 50, ["a"] * 450)  # cheap: many are handed out in advance from now on
    hanging = pool.submit(PROBLEMS[:1], ["sleep"])
    time.sleep(0.5)
    assert pool.submit(PROBLEMS * 50, ["a"] * 450).result(PATIENCE) == [True, False, False] * 150
    assert not hanging.done()


def test_what_waits_behind_a_hang_is_done_after_it(hostile):
    pool = hostile(VerifierConfig(workers=1, seconds=1.0))
    pool.verify(PROBLEMS * 50, ["a"] * 450)
    solutions = ["a", "sleep", "c", "sleep", "b", "os_exit", "raise", "b", "c"]
    batch = pool.submit(PROBLEMS, solutions)
    assert batch.result(PATIENCE) == [True, False, True, False, True, False, False, True, True]


def test_many_threads_ask_at_once(hostile):
    pool = hostile(FOREVER)

    def ask(seed):
        rng = np.random.default_rng(seed)
        solutions = [str(s) for s in rng.choice(["a", "b", "c", "raise"], size=200)]
        if seed % 4 == 0:
            solutions[100] = "kill"
        problems = PROBLEMS * 23
        expected = [p.answer == s for p, s in zip(problems, solutions, strict=False)]
        return all(pool.verify(problems[:200], solutions) == expected for _ in range(3))

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(ask, range(8)))


def test_texts_longer_than_a_socket_holds(hostile):
    pool = hostile(VerifierConfig(workers=1, seconds=2.0))
    long = "x" * (3 << 20)
    problems = [Problem(f"p{i}", "?", long) for i in range(6)]
    # The process does not read while it sleeps.
    solutions = [long, "sleep", long, "y" + long, long, "x"]
    assert pool.verify(problems, solutions) == [True, False, True, False, True, False]


def test_what_cannot_be_sent_is_the_mistake_of_who_asks(hostile):
    pool = hostile()
    with pytest.raises(Exception, match="pickle|lambda"):
        pool.verify([Problem("p", "?", lambda: 0)], ["a"])
    assert pool.verify(PROBLEMS[:2], ["a", "a"]) == [True, False]


@pytest.mark.parametrize(
    "name, settings, message",
    [
        ("countdwn", {}, "there is no task 'countdwn': did you mean countdown?"),
        ("countdown", {"numbers": 99}, "task.numbers must be between 2 and 8, got 99"),
    ],
)
def test_a_task_that_cannot_be(name, settings, message):
    with VerifierPool(name, settings, VerifierConfig()) as pool:
        for _ in range(2):
            with pytest.raises(UserError) as caught:
                pool.verify(PROBLEMS, ["a"] * 9)
            assert str(caught.value) == f"no verifier can start: {message}"


@pytest.mark.parametrize(
    "start, why, most_starts",
    [
        ("raise", "KeyError: 'no such thing'", 2),
        ("refuse", "task.start is refused: use another", 2),
        ("exit", "its process ended with exit code 3", 4),
        ("memory", "512 MiB are too few to start with", 2),
    ],
)
def test_a_worker_that_cannot_start(hostile, tmp_path, start, why, most_starts):
    log = tmp_path / "log"
    pool = hostile(start=start, log=str(log))
    futures = [pool.submit(PROBLEMS, ["a"] * 9) for _ in range(3)]
    for future in futures:
        with pytest.raises(UserError) as caught:
            future.result(PATIENCE)
        assert str(caught.value) == f"no verifier can start: {why}"
    assert 1 <= len(log.read_text().splitlines()) <= most_starts


def test_a_system_that_gives_no_process(hostile, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(UserError, match="no verifier can start: .*No such file"):
        hostile().verify(PROBLEMS, ["a"] * 9)


def test_fewer_workers_will_do(hostile, monkeypatch):
    start = subprocess.Popen
    tries = []

    def refuse(*args, **kwargs):
        tries.append(args)
        if len(tries) > 1:
            raise BlockingIOError("no more processes")
        return start(*args, **kwargs)

    monkeypatch.setattr(subprocess, "Popen", refuse)
    pool = hostile(FOREVER)
    for _ in range(3):
        assert pool.verify(PROBLEMS * 9, ["a"] * 81) == [True, False, False] * 27
    assert len(tries) <= 6
    with pytest.raises(UserError, match="no verifier can start: no more processes"):
        pool.verify(PROBLEMS, ["kill"] * 9)


def test_ctrl_c_does_not_end_workers(hostile):
    before = children(os.getpid())
    pool = hostile(FOREVER)
    pool.verify(PROBLEMS, ["a"] * 9)
    workers = children(os.getpid()) - before
    for worker in workers:
        assert os.getpgid(worker) != os.getpgid(0)  # the terminal's Ctrl-C does not reach them
        os.kill(worker, signal.SIGINT)
    assert pool.verify(PROBLEMS, ["a"] * 9) == [True, False, False] * 3
    assert len(workers) == 2 and children(os.getpid()) - before == workers


def test_close_leaves_no_process(hostile):
    before, threads = children(os.getpid()), set(threading.enumerate())
    pool = hostile(FOREVER)
    pool.verify(PROBLEMS, ["a"] * 9)
    pending = pool.submit(PROBLEMS[:3], ["start_another", "spin_in_c", "a"])
    workers = children(os.getpid()) - before
    assert len(workers) == 2
    assert eventually(lambda: any(map(children, workers)))
    started = set.union(*map(children, workers))
    pool.close()
    assert children(os.getpid()) == before and not any(map(is_running, workers))
    assert eventually(lambda: not any(map(is_running, started)))
    with pytest.raises(RuntimeError, match="closed"):
        pending.result(0)
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit(PROBLEMS, ["a"] * 9)
    started = set(threading.enumerate()) - threads
    assert not [thread for thread in started if thread.name == "verifiers"]
    pool.close()


_PROGRAM = """
import sys, threading
sys.path.insert(0, sys.argv[1])
import hostile_task
from expert_iter.tasks import Problem
from expert_iter.tasks.verifier import pool

pool.VerifierPool._load = staticmethod(hostile_task.HostileTask)
verifiers = pool.VerifierPool("hostile", {}, pool.VerifierConfig(seconds=3600.0))
verifiers.verify([Problem("p", "?", "a")] * 50, ["a"] * 50)
verifiers.submit([Problem("p", "?", "a")], ["spin_in_c"])
print("jax" in sys.modules, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("end", ["kill -9", "without close"])
def test_workers_end_with_the_program(end):
    program = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, HERE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert program.stdout.readline() == "False\n"
        workers = children(program.pid)
        assert len(workers) == 2 and all(map(is_running, workers))
    finally:
        if end == "kill -9":
            program.kill()
        program.communicate(timeout=PATIENCE)
    ended = eventually(lambda: not any(map(is_running, workers)))
    for worker in filter(is_running, workers):
        os.kill(worker, signal.SIGKILL)
    assert ended


def test_a_worker_ends_when_its_socket_is_closed():
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "expert_iter.tasks.verifier.worker"]
    arguments = [str(theirs.fileno()), str(os.getpid())]
    worker = subprocess.Popen(command + arguments, pass_fds=[theirs.fileno()])
    theirs.close()
    ours.close()
    assert worker.wait(PATIENCE) == 0


@pytest.mark.parametrize(
    "changes", [{"workers": 0}, {"seconds": 0.0}, {"seconds": float("nan")}, {"megabytes": 3}]
)
def test_settings_out_of_range(changes):
    (key,) = changes
    with pytest.raises(UserError, match=f"^verifier.{key} must be between .* and .*, got "):
        VerifierConfig(**changes)


def test_a_cheap_and_safe_task_is_verified_in_this_process():
    task = load_task("countdown")
    with make_verifier(task, VerifierConfig()) as verifier:
        assert isinstance(verifier, InProcessVerifier)
    task.in_process = False
    with make_verifier(task, VerifierConfig()) as verifier:
        assert isinstance(verifier, VerifierPool)
