"""The command `plan`, as it is typed."""

import importlib.util
import json

import pytest

from tests.tiny import FLAGS, finish, typed

WITHOUT_LIBTPU = importlib.util.find_spec("libtpu") is None
WITHOUT_CUDA = not any(importlib.util.find_spec(f"jax_cuda{n}_plugin") for n in (12, 13))
COMPILED = ("update", "search by mcts", "evaluation by greedy", "evaluation by samples")


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
        ("--topology=v5e:2x2", "--topology goes with --compile"),
    ],
)
def test_mistakes_are_one_line(flag, says):
    done = finish("plan", "--config=configs/countdown.py", "--config.mesh.fsdp=2", flag)
    assert done.returncode == 2
    assert says in done.stderr and done.stderr.count("\n") == 1


def test_compiling_for_this_machine(tmp_path):
    """By hand: the learner has 4 rows, an evaluation of two budgets reads two searches."""
    given = *FLAGS, "--config.run.expert=guess", "--config.evaluation.simulations=(1,2)"
    given += ("--config.run.first_expert=samples",)
    done = finish("plan", *given, "--compile", f"--json={tmp_path / 'plan.json'}")
    assert done.returncode == 0, done.stderr
    for text in ("update", "search by guess", "evaluation by mcts, 2", "temporaries", "free"):
        assert text in done.stdout
    assert "compiling update (1 of " in done.stderr
    assert "DOES NOT FIT" not in done.stdout and "chip-hours" not in done.stdout
    figures = json.loads((tmp_path / "plan.json").read_text())
    assert figures["fits"] and figures["device_bytes"] == 16e9
    uses = {(use["phase"], use["program"], use["budget"]): use for use in figures["uses"]}
    assert uses["warm start", "update", 1]["calls"] == 6
    assert uses["warm start", "update", 1]["tokens"] == 4 * 128
    less, more = (uses["evaluation", "evaluation by mcts", n] for n in (1, 2))
    assert more["tokens"] - less["tokens"] == 16 * 3 * 12
    assert 1.1 * less["flops"] < more["flops"] < 2 * less["flops"]
    assert uses["search", "search by guess", 32]["flops"] > 0
    assert uses["search", "first search by samples", 32]["flops"] > 0


@pytest.mark.parametrize(
    "topology, extra, there",
    [("v5e:2x2", "tpu", not WITHOUT_LIBTPU), ("h100:8", "cuda12", not WITHOUT_CUDA)],
)
def test_without_the_compiler_a_line_says_how_to_get_it(topology, extra, there):
    if there:
        pytest.skip("it is installed")
    given = "--config=configs/countdown.py", "--compile", f"--topology={topology}"
    done = finish("plan", *given)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert f"pip install 'expert_iter[{extra}]'" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(WITHOUT_LIBTPU, reason="libtpu, the TPU's compiler, is not installed")
def test_compiling_for_a_tpu_that_is_not_there(tmp_path):
    mesh = "--config.mesh.tensor=2", "--config.mesh.search=tensor"
    given = *FLAGS, *mesh, "--compile", f"--json={tmp_path / 'plan.json'}"
    done = typed("plan", *given, "--topology=v5e:2x2")
    assert done.returncode == 0, done.stderr
    for text in (*COMPILED, "4 × TPU v5 lite (v5e:2x2)", "along tensor", "chip-hours"):
        assert text in done.stdout
    figures = json.loads((tmp_path / "plan.json").read_text())
    assert figures["device_bytes"] == 16e9 and figures["mesh"]["data"] == 2
    assert 0 < figures["round_hours_at_least"] < 1
    wrong = typed("plan", *given, "--topology=v5e:two")
    assert wrong.returncode == 2 and wrong.stderr.count("\n") == 1
    assert "there is no such topology; examples are v5e:2x4" in wrong.stderr


@pytest.mark.slow
@pytest.mark.skipif(WITHOUT_CUDA, reason="JAX's CUDA plugin is not installed")
def test_compiling_for_a_gpu_that_is_not_there(tmp_path):
    """FLOPs as on this machine, but for products with a vector, of which XLA makes sums there."""
    figures = {}
    for where, more in (("cpu", ()), ("gpu", ["--topology=h100:1"])):
        file = tmp_path / f"{where}.json"
        given = *FLAGS, "--config.mesh.data=1", "--compile", f"--json={file}"
        done = typed("plan", *given, *more)
        assert done.returncode == 0, done.stderr
        figures[where] = json.loads(file.read_text())
    for text in (*COMPILED, "1 × NVIDIA H100 80GB HBM3 (h100:1), 60 GB each", "chip-hours"):
        assert text in done.stdout
    assert figures["cpu"]["mesh"] == figures["gpu"]["mesh"]
    for ours, theirs in zip(figures["cpu"]["uses"], figures["gpu"]["uses"], strict=True):
        assert theirs["flops"] == pytest.approx(ours["flops"], rel=0.01), ours["program"]
