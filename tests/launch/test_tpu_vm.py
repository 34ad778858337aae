"""tpu_vm.sh, against a stand-in for gcloud."""

import shutil
import sys

import pytest

from tests.launch.scripts import FLAGS, LAUNCH, launch, wait_for, write_program

# A cloud of one TPU with two workers. The states of the queued resource are used up one a look.
GCLOUD = """
import os, shutil, subprocess, sys
from pathlib import Path

cloud = Path(os.environ["CLOUD"])
group, verb, arguments = sys.argv[3], sys.argv[4], sys.argv[5:]
flags = dict(word[2:].split("=", 1) for word in arguments if word[:2] == "--" and "=" in word)
request, created = cloud / "request", cloud / "created"
workers = [cloud / "worker-0", cloud / "worker-1"]

def log(*words):
    with open(cloud / "log", "a") as file:
        print(*words, file=file)

if (group, verb) == ("queued-resources", "list"):
    assert flags["filter"] == 'name ~ "/expert-iter$"' and flags["format"] == "value(state.state)"
    if request.exists():
        state, *rest = request.read_text().split()
        request.write_text(" ".join(rest or [state]))
        print(state)
elif (group, verb) == ("tpu-vm", "list"):
    assert flags["format"] == "value(state)"
    looks = cloud / "looks"
    count = len(looks.read_text()) if looks.exists() else 0
    looks.write_text("." * (count + 1))
    states = os.environ.get("TPU_STATES", "READY").split()
    print(states[min(count, len(states) - 1)])
elif (group, verb) == ("queued-resources", "create"):
    assert not request.exists()
    log("create")
    count = int(created.read_text()) if created.exists() else 0
    created.write_text(str(count + 1))
    request.write_text(os.environ["STATES"].split(";")[count])
    for worker in workers:
        worker.mkdir()
elif (group, verb) == ("queued-resources", "delete"):
    assert {"--force", "--quiet"} < set(arguments)
    log("delete")
    request.unlink()
    for worker in workers:
        shutil.rmtree(worker)
elif (group, verb) == ("tpu-vm", "scp"):
    assert flags["worker"] == "all" and arguments[2] == "expert-iter:"
    log("copy")
    for worker in workers:
        shutil.copy(arguments[1], worker)
elif (group, verb) == ("tpu-vm", "ssh"):
    if "new-session" in flags["command"]:
        log("run")
    for i, worker in enumerate(workers):
        environment = {**os.environ, "HOME": str(worker), "ME": str(i)}
        subprocess.run(["bash", "-c", flags["command"]], cwd=worker, env=environment, check=True)
else:
    sys.exit(f"no such command: {sys.argv}")
"""

# What `python3 -m venv .venv` leaves on a worker: a pip, and a program that follows PLAN, a step a
# start of the training: two exit codes, or `stay`; `done` finishes the run.
PYTHON3 = """
[[ "$1" == -c ]] && exit
mkdir -p .venv/bin
echo 'echo "pip $*" >>"$CLOUD/log"' >.venv/bin/pip
cat >.venv/bin/python <<'PROGRAM'
#!/usr/bin/env bash
[[ "$1" == launch/check.py ]] && exit
steps=($PLAN)
starts="$CLOUD/starts-$ME"
echo "$*" >>"$starts"
step="${steps[$(wc -l <"$starts") - 1]}"
case "$step" in
  stay) while [[ -d "$HOME" ]]; do sleep 0.05; done ;;
  done) touch "$WORKDIR/summary.json" ;;
  *) codes=(${step/,/ }); exit "${codes[$ME]}" ;;
esac
PROGRAM
chmod 755 .venv/bin/*
sed -i '1i #!/usr/bin/env bash' .venv/bin/pip
"""

TMUX = """
case "$1" in
  has-session) [[ -e "$HOME/session" ]] ;;
  new-session) touch "$HOME/session"; (bash -c "$5"; rm -f "$HOME/session") >/dev/null 2>&1 & ;;
esac
"""


@pytest.fixture
def cloud(tmp_path):
    """Runs tpu_vm.sh of a small checkout against the stand-in of a cloud."""
    checkout, folder, tools = tmp_path / "checkout", tmp_path / "cloud", tmp_path / "tools"
    (checkout / "runs").mkdir(parents=True)
    (checkout / "runs" / "large").write_text("not to be copied")
    shutil.copytree(LAUNCH, checkout / "launch")
    folder.mkdir()
    write_program(tools / "gcloud", GCLOUD, sys.executable)
    write_program(tools / "python3", PYTHON3)
    write_program(tools / "tmux", TMUX)

    def run(command, states="ACTIVE", plan="", **environment):
        environment = {"POLL_SECONDS": 0, "MAX_RESTARTS": 3, **environment}
        names = {"CLOUD": folder, "WORKDIR": folder, "STATES": states, "PLAN": plan}
        script = checkout / "launch" / "tpu_vm.sh"
        return launch(script, command, *FLAGS, path=[tools], **names, **environment)

    run.folder = folder
    run.log = lambda: (folder / "log").read_text().splitlines()
    return run


SET_UP = ["copy", *["pip install --quiet --disable-pip-version-check --editable .[tpu]"] * 2]


def test_watch_brings_a_run_through_preemption_and_failures_to_its_end(cloud):
    result = cloud(
        "watch",
        "WAITING_FOR_RESOURCES PROVISIONING ACTIVE ACTIVE SUSPENDING SUSPENDED;FAILED;ACTIVE",
        "stay 1,75 0,0 75,137 done",
    )
    assert result.returncode == 0, result.stderr + result.stdout
    assert cloud.log() == [
        *["create", *SET_UP, "run", "delete"],  # preempted while it ran
        *["create", "delete"],  # no capacity
        *["create", *SET_UP, "run", "run", "run", "run"],
    ]
    said = [line.split(" ", 1)[1] for line in result.stdout.splitlines()[:-1]]
    for state in ("NONE", "WAITING_FOR_RESOURCES", "PROVISIONING", "READY", "running", "SUSPENDED"):
        assert state in said
    assert "Finished" in result.stdout.splitlines()[-1]
    for worker in (0, 1):
        started = (cloud.folder / f"starts-{worker}").read_text().splitlines()
        program = f"-m expert_iter.train --workdir={cloud.folder} --distributed {' '.join(FLAGS)}"
        assert started == [program] * 5  # the same command each time
    assert not (cloud.folder / "worker-0" / "expert_iter" / "runs").exists()


def test_watch_takes_up_what_is_running_and_finished_runs(cloud):
    assert cloud("create").returncode == 0
    assert cloud("setup").returncode == 0
    assert cloud("run", plan="done").returncode == 0
    wait_for(cloud.folder / "worker-1" / "expert_iter" / "exit_code")
    assert cloud("watch", plan="done").returncode == 0
    assert cloud.log() == ["create", *SET_UP, "run"]


def test_watch_replaces_a_tpu_that_is_preempted_while_its_request_is_active(cloud):
    result = cloud("watch", "ACTIVE ACTIVE;ACTIVE", "stay done", TPU_STATES="READY PREEMPTED READY")
    assert result.returncode == 0, result.stderr
    assert cloud.log() == ["create", *SET_UP, "run", "delete", "create", *SET_UP, "run"]


def test_watch_gives_up(cloud):
    result = cloud("watch", plan="1,75 " * 9)
    assert result.returncode == 2 and "gave up after 3 restarts" in result.stderr
    assert cloud.log().count("run") == 4


def test_watch_does_not_count_saves_as_failures(cloud):
    result = cloud("watch", plan="0,0 " * 8 + "done")
    assert result.returncode == 0, result.stderr


def test_watch_stops_at_a_mistake_of_the_user(cloud):
    result = cloud("watch", plan="2,2 done")
    assert result.returncode == 2 and "mistake" in result.stderr
    assert cloud.log().count("run") == 1
