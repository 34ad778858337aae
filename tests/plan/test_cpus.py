"""The memory of a run on CPUs: what a process needs, what it can have, and who is refused."""

import dataclasses
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import jax
import pytest

from expert_iter.config import default_config, settings
from expert_iter.errors import UserError
from expert_iter.overrides import load_config, override
from expert_iter.plan.cpus import PROCESS, available_memory
from expert_iter.plan.plan import plan
from expert_iter.plan.preflight import CPU_ERROR, check_cpus
from tests.forks import ROOT

PROMPT = 24  # tokens: problems of Countdown have fewer
CPUS = jax.devices()[:1]


def given(**changes):
    config = default_config("countdown")
    for key, value in changes.items():
        section, name = key.split("__")
        config[section][name] = value
    return settings(config)


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


MACHINE = {"proc/meminfo": "MemTotal: 9000 kB\nMemAvailable:    5000 kB\nSwapFree: 1 kB\n"}


def group(limit, used, droppable):
    files = {"max": f"{limit}\n", "current": f"{used}\n"}
    return files | {"stat": f"anon 7\ninactive_file {droppable}\n"}


def groups(path, **group):
    return {f"sys/fs/cgroup{path}/memory.{name}": text for name, text in group.items()}


def test_memory_is_what_the_machine_has_left(tmp_path):
    assert available_memory(tmp_path) is None
    write(tmp_path, MACHINE)
    assert available_memory(tmp_path) == 5000 * 1024


def test_a_control_group_leaves_its_limit_less_what_it_uses_but_for_files(tmp_path):
    own = groups("/job/step", **group("max", 10, 0))
    above = groups("/job", **group(4_000_000, 1_500_000, 200_000))
    write(tmp_path, MACHINE | {"proc/self/cgroup": "0::/job/step\n"} | own | above)
    assert available_memory(tmp_path) == 2_700_000
    write(tmp_path, groups("/job/step", **group(2_000_000, 100_000, 0)))
    assert available_memory(tmp_path) == 1_900_000


def test_groups_of_the_first_version_count_too(tmp_path):
    files = {
        "memory.limit_in_bytes": "3000000\n",
        "memory.usage_in_bytes": "1000000\n",
        "memory.stat": "total_inactive_file 50\n",
    }
    here = {f"sys/fs/cgroup/memory/job/{name}": text for name, text in files.items()}
    write(tmp_path, MACHINE | {"proc/self/cgroup": "4:cpu,memory:/job\n2:pids:/job\n"} | here)
    assert available_memory(tmp_path) == 2_000_050


def test_devices_of_a_process_hold_copies_of_the_weights():
    one, two = (plan(given(), n, 16, cpus=n).phases[0] for n in (1, 2))
    weights = [{p.name: p.bytes for p in phase.parts}["parameters"] for phase in (one, two)]
    assert weights[1] == 2 * weights[0] > 0
    for phase in (one, two):
        assert phase.parts[-1].bytes == PROCESS


def test_what_memory_cannot_hold_is_refused_with_what_would_fit(capsys):
    s = given()
    needed = max(plan(s, 1, 16, cpus=1).phases, key=lambda phase: phase.bytes)
    check_cpus(s, 16, devices=CPUS, available=1.01 * needed.bytes / (1 + CPU_ERROR))
    tight = given(run__batch_size=20_000, evaluation__batch_size=8)
    limit = 2 * PROCESS
    with pytest.raises(UserError) as refused:
        check_cpus(tight, 16, devices=CPUS, available=limit)
    text = str(refused.value)
    assert text.startswith("the run does not fit: this machine has 2.5 GB to spare, and search")
    assert "--skip_memory_check" in text and "\n" not in text and "mesh" not in text
    rows = int(re.search(r"--config.run.batch_size=(\d+)", text)[1])
    fits = dataclasses.replace(tight, run=dataclasses.replace(tight.run, batch_size=rows))
    check_cpus(fits, 16, devices=CPUS, available=limit)

    check_cpus(tight, 16, skip=True, devices=CPUS, available=limit)
    assert "warning: the run does not fit" in capsys.readouterr().out


def test_accelerators_have_memory_of_their_own():
    cards = [SimpleNamespace(platform="gpu", process_index=0)]
    check_cpus(given(run__batch_size=100_000), 16, devices=cards, available=1.0)


def test_where_the_system_tells_nothing_nothing_is_refused(monkeypatch):
    monkeypatch.setattr("expert_iter.plan.preflight.available_memory", lambda: None)
    check_cpus(given(run__batch_size=100_000), 16, devices=CPUS)


# A run in a process of its own, which prints the most bytes that it held.
RUN = """
import sys
from expert_iter import cli, train
try:
    cli.run(train.main)
finally:
    status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
    print("PEAK", 1024 * int(status["VmHWM"].split()[0]))
"""
WIDE = """
    model.width=1024 model.num_layers=4 model.num_heads=8 model.num_kv_heads=8 model.head_dim=128
    model.mlp_width=4096 task.train_size=100 task.validation_size=8 task.test_size=8
    optimizer.name=adamw warm_start.updates=2 learner.rows=2 learner.updates_per_round=2
    run.rounds=1 run.problems_per_round=8 run.batch_size=8 run.save_seconds=600
    search.num_simulations=2 search.num_candidates=2 search.root_candidates=0
    evaluation.problems=8 evaluation.batch_size=8 evaluation.samples=(2,)
    evaluation.simulations=(2,) evaluation.num_candidates=2 evaluation.root_candidates=0
    evaluation.round_problems=8 evaluation.round_simulations=2 evaluation.round_samples=2
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells the most that a process held")
def test_a_run_holds_at_most_what_the_plan_says(tmp_path):
    flags = ["--config=configs/countdown.py", *(f"--config.{x}" for x in WIDE.split())]
    config = load_config(str(ROOT / "configs/countdown.py"))
    override(config, ["", *flags[1:]])
    planned = max(phase.bytes for phase in plan(settings(config), 1, PROMPT, cpus=1).phases)
    assert planned > 1.8 * PROCESS, "else there is little to see"
    others = ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES")
    environment = {k: v for k, v in os.environ.items() if k not in others}
    done = subprocess.run(
        [sys.executable, "-c", RUN, *flags, f"--workdir={tmp_path / 'run'}"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        # The plan counts what compiling leaves behind: programs from a cache leave 0.2 GB less.
        env=environment
        | {
            "PYTHONPATH": str(ROOT),
            "JAX_NUM_CPU_DEVICES": "1",
            "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled"),
        },
    )
    assert done.returncode == 0, done.stderr
    held = int(done.stdout.rpartition("PEAK ")[2])
    # Too small a plan ends runs; how little a process can do with differs by machine.
    assert 0.85 * planned < held < (1 + CPU_ERROR) * planned
