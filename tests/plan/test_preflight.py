"""The first lines of a run on accelerators that need not be there."""

import re
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

from expert_iter.config import settings
from expert_iter.errors import UserError
from expert_iter.overrides import load_config
from expert_iter.plan.chips import CHIPS
from expert_iter.plan.plan import plan
from expert_iter.plan.preflight import ERROR, machine, memory, preflight
from tests.pod.test_torus import Chip, chips

ROOT = Path(__file__).parents[2]
GEMMA = "configs/pods/gemma2_2b_v5e8.py"


class Told(Chip):
    """Chips of which the backend tells how much memory they have."""

    limit: int | None = None

    def memory_stats(self):
        return self.limit and {"bytes_limit": self.limit}


def devices(limit=None, chip="v5e", topology="2x4", slices=1):
    told = type("Told", (Told,), {"limit": limit})
    return [told(**vars(one)) for one in chips(chip, topology, slices)]


def given(config=GEMMA, **changes):
    loaded = load_config(str(ROOT / config))
    for key, value in changes.items():
        section, name = key.split("__")
        loaded[section][name] = value
    return settings(loaded)


def limit_of(share):
    """Bytes of a device of which the largest phase needs so large a share."""
    return int(max(phase.bytes for phase in plan(given(), 8, 256).phases) / share)


def test_a_run_that_fits_says_what_it_lies_on(capsys):
    preflight(given(), devices=devices())
    first, second, *phases = capsys.readouterr().out.splitlines()
    mesh = "mesh: data 1 × fsdp 2 × tensor 4"
    assert first == f"8 × TPU v5 lite (v5e:2x4), 2 processes; {mesh}"
    assert "2.61 G parameters" in second and "of 16 GB" in second
    planned = plan(given(), 8, 256).phases
    assert [line.split("  ")[1] for line in phases] == [phase.name for phase in planned]
    shares = [int(re.search(r"(\d+)%", line)[1]) for line in phases]
    assert shares == [round(100 * phase.bytes / 16e9) for phase in planned]


def test_the_example_of_the_docs_is_what_it_says(capsys):
    preflight(given(), devices=devices())
    assert f"```\n{capsys.readouterr().out}```" in (ROOT / "docs/pods.md").read_text()


def test_what_does_not_fit_is_refused_with_what_would(capsys):
    config, tight = "configs/pods/gemma2_9b_v5p16.py", devices()  # of v5e, in place of v5p
    with pytest.raises(UserError) as refused:
        preflight(given(config), devices=tight)
    text = str(refused.value)
    needed = plan(given(config), 8, 256).phases[0].bytes
    assert f"learning needs {needed / 1e9:.1f} GB ({(needed - 16e9) / 1e9:.1f} GB too much" in text
    assert "DOES NOT FIT" in capsys.readouterr().out
    mesh, count = re.search(r"--config.mesh.fsdp=(\d+) on (\d+) devices", text).groups()
    mended = plan(given(config, mesh__fsdp=int(mesh)), int(count), 256).phases[0]
    assert mended.name == "learning" and mended.bytes <= 16e9
    assert "--skip_memory_check" in text and "\n" not in text

    preflight(given(config), skip=True, devices=tight)
    assert "warning: the run does not fit" in capsys.readouterr().out


def test_it_refuses_only_beyond_the_error_of_the_arithmetic(capsys):
    def said(share):
        preflight(given(), devices=devices(limit_of(share)))
        return capsys.readouterr().out

    phases = plan(given(), 8, 256).phases
    most = max(phase.most for phase in phases) / max(phase.bytes for phase in phases)
    assert "may not fit" not in said(0.99 / most)
    for share in (1.01 / most, 0.99 * (1 + ERROR)):
        assert "may not fit" in said(share) and "DOES NOT FIT" not in said(share)
    with pytest.raises(UserError, match="search by mcts needs"):
        said(1.01 * (1 + ERROR))


@pytest.mark.parametrize("platform", ("cpu", "tpu"))
def test_a_mesh_that_does_not_suit_the_devices_is_refused(platform):
    four = [SimpleNamespace(platform=platform, process_index=0)] * 4
    with pytest.raises(UserError, match="need 8 devices, and there are 4"):
        preflight(given(), devices=four)


def test_a_batch_that_the_mesh_cannot_cut_is_refused():
    with pytest.raises(UserError, match="learner.rows"):
        preflight(given(learner__rows=7), devices=devices())


def test_nothing_is_said_or_refused_on_cpus(capsys):
    huge = given(mesh__fsdp=1, mesh__tensor=1, mesh__data=0, model__num_layers=10_000)
    preflight(huge)
    assert capsys.readouterr().out == ""


def test_without_a_vocabulary_there_is_no_plan_and_no_refusal(capsys):
    unknown = given("configs/gsm8k_llama3_8b.py")
    preflight(unknown, devices=devices())
    assert "memory cannot be planned: gsm8k has no vocabulary" in capsys.readouterr().out


def test_memory_is_what_the_backend_tells_or_else_the_makers_figure():
    assert memory(devices(limit=123)) == 123
    assert memory(devices()) == CHIPS["TPU v5 lite"].memory
    card = SimpleNamespace(process_index=0, device_kind="a card", memory_stats=lambda: None)
    assert memory([card]) is None

    def refuses():
        raise jax.errors.JaxRuntimeError("UNIMPLEMENTED")

    card.memory_stats = refuses
    assert memory([card]) is None


@pytest.mark.parametrize(
    "chip, topology, slices, says",
    [
        ("v6e", "1x1", 1, "1 × TPU v6 lite (v6e:1x1), 1 process"),
        ("v5p", "2x2x1", 1, "4 × TPU v5 (v5p:2x2x1), 1 process"),
        ("v5e", "4x4", 2, "32 × TPU v5 lite (2 slices of v5e:4x4), 8 processes"),
    ],
)
def test_machines(chip, topology, slices, says):
    assert machine(devices(None, chip, topology, slices)) == says


def test_cards_have_no_topology():
    card = SimpleNamespace(platform="gpu", process_index=0, device_kind="NVIDIA H100 80GB HBM3")
    assert machine([card] * 8) == "8 × NVIDIA H100 80GB HBM3, 1 process"
