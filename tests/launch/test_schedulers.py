"""gke.sh, slurm.sh and skypilot.yaml, against stand-ins for the tools that they call."""

import shutil
from pathlib import Path

import pytest
import yaml

from tests.launch.scripts import FLAGS, LAUNCH, ROOT, launch, write_program


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
