"""The command `plan`, as it is typed."""

import pytest

from tests.tiny import finish


def test_the_table():
    done = finish("plan", "--config=configs/countdown.py", "--device_gigabytes=1")
    assert done.returncode == 0, done.stderr
    for text in ("parameters", "learning", "KV pages", "evaluation by samples", "fits", "FLOP"):
        assert text in done.stdout
    assert "DOES NOT FIT" not in done.stdout


def test_what_does_not_fit_names_a_setting():
    done = finish(
        "plan",
        "--config=configs/countdown.py",
        "--config.run.batch_size=4096",
        "--config.mesh.fsdp=2",
        "--devices=4",
        "--device_gigabytes=0.5",
    )
    assert done.returncode == 0, done.stderr
    assert "mesh: data 2 × fsdp 2 × tensor 1" in done.stdout
    assert "DOES NOT FIT" in done.stdout and "--config.run.batch_size=" in done.stdout


@pytest.mark.parametrize(
    "flag, says",
    [
        ("--workdir=runs/1", "--workdir is for runs"),
        ("--devices=1", "need 2 devices, and there are 1"),
    ],
)
def test_mistakes_are_one_line(flag, says):
    done = finish("plan", "--config=configs/countdown.py", "--config.mesh.fsdp=2", flag)
    assert done.returncode == 2
    assert says in done.stderr and done.stderr.count("\n") == 1
