"""local_pod.sh, with processes that fail, die and hang."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.launch.scripts import FLAGS, LAUNCH, wait_for, write_program

PROCESS = """
import os, signal, sys, time
from pathlib import Path

here, me = Path(os.environ["HERE"]), os.environ["EXPERT_ITER_PROCESS"]
plan = os.environ["PLAN"].split(",")[int(me)]  # such as exit:3
with open(here / "seen", "a") as seen:
    names = ("COORDINATOR", "PROCESSES", "PROCESS")
    said = [os.environ[f"EXPERT_ITER_{name}"] for name in names]
    print(*said, os.environ["JAX_PLATFORMS"], os.environ["XLA_FLAGS"], *sys.argv[1:], file=seen)
print("process", me, flush=True)

def stop(number, frame):
    (here / f"stopped-{me}").write_text(str(number))
    if plan != "deaf":
        sys.exit({signal.SIGTERM: 0, signal.SIGINT: 130}[number])

signal.signal(signal.SIGTERM, stop)
if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
    signal.signal(signal.SIGINT, stop)
(here / f"up-{me}").touch()
while len(list(here.glob("up-*"))) < int(os.environ["EXPERT_ITER_PROCESSES"]):
    time.sleep(0.01)
what, _, value = plan.partition(":")
if what == "once":  # fails, and next time finishes
    if (here / "failed").exists():
        (here / "summary.json").touch()
        sys.exit(0)
    (here / "failed").touch()
    sys.exit(int(value))
if what == "later":
    time.sleep(0.5)
if what == "after":
    while not (here / "going").exists():
        time.sleep(0.001)
if what in ("exit", "later", "after"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends by itself, if it takes a while
    (here / "going").touch()
    sys.exit(int(value))
if what == "die":
    os.kill(os.getpid(), signal.SIGKILL)
time.sleep(20)
"""


@pytest.fixture
def pod(tmp_path):
    """Starts local_pod.sh with processes that follow a plan, such as exit:0,stay."""
    python = write_program(tmp_path / "python", PROCESS, sys.executable)

    def start(plan, *arguments, grace=10):
        return subprocess.Popen(
            ["bash", str(LAUNCH / "local_pod.sh"), "-n", str(len(plan.split(","))), *arguments]
            + [f"--workdir={tmp_path}", *FLAGS],
            env={
                **{k: v for k, v in os.environ.items() if k != "XLA_FLAGS"},
                **{"PYTHON": str(python), "HERE": str(tmp_path), "PLAN": plan},
                **{"LOG_DIR": str(tmp_path / "logs"), "GRACE_SECONDS": str(grace)},
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def test_pod_tells_each_process_its_place(pod, tmp_path):
    out, err = (process := pod("exit:0,exit:0,exit:0", "-d", "4")).communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    seen = sorted(line.split(" ") for line in (tmp_path / "seen").read_text().splitlines())
    assert len({words[0] for words in seen}) == 1 and seen[0][0].startswith("127.0.0.1:")
    assert [words[1:3] for words in seen] == [["3", "0"], ["3", "1"], ["3", "2"]]
    for words in seen:
        assert words[3:5] == ["cpu", "--xla_force_host_platform_device_count=4"]
        assert words[5:] == " ".join(
            ["-m", "expert_iter.train", f"--workdir={tmp_path}", *FLAGS]
        ).split(" ")
    assert out.splitlines()[-1] == "process 0" and "process 1" not in out.splitlines()
    for other in (1, 2):  # their files are named at the start
        log = tmp_path / "logs" / f"process-{other}.log"
        assert f"Process {other} writes to {log}" in out and log.read_text() == f"process {other}\n"


@pytest.mark.parametrize(
    "plan, code",
    [
        ("exit:0,later:0", 0),
        ("exit:3,stay", 3),
        ("stay,exit:2", 2),
        ("later:4,exit:75", 75),  # ended before it could fail by itself
        ("after:75,exit:5", 5),  # 75 says no more than that another one died
        ("stay,die", 137),
        ("exit:75,exit:75", 75),
    ],
)
def test_pod_ends_with_the_first_failure(pod, plan, code):
    process = pod(plan)
    _, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert ("ended with code" in err) == (code != 0)


def test_pod_ends_the_others_when_one_dies(pod, tmp_path):
    begin = time.monotonic()
    assert pod("stay,exit:3,deaf", grace=1).wait(20) == 3
    assert (tmp_path / "stopped-0").read_text() == str(int(signal.SIGTERM))
    assert (tmp_path / "stopped-2").exists()  # asked first, killed after the grace period
    assert 1 <= time.monotonic() - begin < 10


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_pod_hands_signals_on_to_all(pod, tmp_path, number, code):
    process = pod("stay,stay", "--restart", "5")
    for i in (0, 1):
        wait_for(tmp_path / f"up-{i}")
    process.send_signal(number)
    assert process.wait(20) == code
    assert [(tmp_path / f"stopped-{i}").read_text() for i in (0, 1)] == [str(int(number))] * 2
    assert len((tmp_path / "seen").read_text().splitlines()) == 2  # and does not start again


@pytest.mark.parametrize(
    "plan, code, starts",
    [
        ("once:7,exit:0", 0, 2),
        ("exit:0,exit:0", 0, 3),  # saved, but the run is not finished
        ("exit:7,exit:0", 7, 3),
        ("exit:2,exit:0", 2, 1),
    ],
)
def test_pod_restarts(pod, tmp_path, plan, code, starts):
    assert pod(plan, "--restart", "2", grace=1).wait(20) == code
    seen = (tmp_path / "seen").read_text().splitlines()
    assert sum(line.split(" ")[2] == "0" for line in seen) == starts
