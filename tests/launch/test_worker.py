"""worker.sh, against a stand-in for the program."""

import os
import signal
import subprocess

import pytest

from tests.launch.scripts import FLAGS, LAUNCH, launch, wait_for, write_program


def test_worker_says_by_its_code_what_to_do_next(tmp_path):
    python = write_program(tmp_path / "python", 'echo "$@"\nexit "$CODE"\n')
    where = {"PYTHON": python, "WORKDIR": tmp_path}
    result = launch("worker", *FLAGS, CODE=0, **where)
    assert result.returncode == 76
    train = f"-m expert_iter.train --workdir={tmp_path} --distributed"
    assert result.stdout == " ".join([train, *FLAGS]) + "\n"
    for code in (1, 2, 75, 130, 134):
        assert launch("worker", CODE=code, **where).returncode == code
    (tmp_path / "summary.json").touch()
    assert launch("worker", CODE=0, **where).returncode == 0
    assert launch("worker", CODE=1, **where).returncode == 1


@pytest.mark.parametrize("name, code", [("KILL", 137), ("ABRT", 134)])
def test_a_killed_program_ends_with_one_clear_line_of_the_worker(tmp_path, name, code):
    python = write_program(tmp_path / "python", f"echo working\nkill -{name} $$\n")
    result = launch("worker", PYTHON=python, WORKDIR=tmp_path)
    assert result.returncode == code and result.stdout == "working\n"
    last = result.stderr.splitlines()[-1]
    assert f"ended with code {code}: it was killed, ran out of memory, or lost process 0;" in last
    assert last.endswith("on all hosts to resume from the last checkpoint")


@pytest.mark.parametrize("code", [1, 2, 75])
def test_a_program_that_ends_by_itself_has_the_last_word(tmp_path, code):
    python = write_program(tmp_path / "python", f"echo its own >&2\nexit {code}\n")
    assert launch("worker", PYTHON=python, WORKDIR=tmp_path).stderr == "its own\n"


@pytest.mark.parametrize("found", [0, 76, 1])  # 1: the bucket cannot be read
def test_worker_looks_for_the_summary_in_a_bucket(tmp_path, found):
    python = write_program(
        tmp_path / "python", f'[[ "$1" != -c || "$3" != gs://b/r/* ]] || exit {found}'
    )
    result = launch("worker", PYTHON=python, WORKDIR="gs://b/r")
    assert result.returncode == found


def test_worker_hands_sigterm_on_once_and_waits(tmp_path):
    """Also if the whole process group is signalled, as Slurm does."""
    python = write_program(
        tmp_path / "python",
        f"""
        trap 'echo term >>{tmp_path}/terms; sleep 0.5; exit 0' TERM
        touch {tmp_path}/up
        while :; do sleep 0.05; done
        """,
    )
    worker = subprocess.Popen(
        ["bash", str(LAUNCH / "worker.sh")],
        env={**os.environ, "PYTHON": str(python), "WORKDIR": str(tmp_path)},
        start_new_session=True,
    )
    wait_for(tmp_path / "up")
    os.killpg(worker.pid, signal.SIGTERM)
    assert worker.wait(10) == 76
    assert (tmp_path / "terms").read_text() == "term\n"
