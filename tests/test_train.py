"""The order in which a run starts: what would end it comes before what takes long."""

import jax
import pytest
from absl import flags

from expert_iter import train
from expert_iter.errors import UserError
from expert_iter.overrides import load_config
from tests.pod.test_torus import Chip, chips
from tests.tiny import finish


def test_what_will_not_fit_is_refused_before_data_are_read(monkeypatch, tmp_path, capsys):
    """On eight chips of v5e; the directory of the data does not exist."""
    flags.FLAGS(["train"])
    monkeypatch.setattr(jax, "devices", lambda: chips("v5e", "2x4"))
    monkeypatch.setattr(Chip, "memory_stats", lambda self: None, raising=False)
    config = load_config("configs/pods/gemma2_9b_v5p16.py")
    config.task.data_dir = str(tmp_path / "none")
    with pytest.raises(UserError, match="the run does not fit"):
        train.main(config, tmp_path / "run")
    assert "8 × TPU v5 lite (v5e:2x4)" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()

    monkeypatch.setattr(flags.FLAGS, "skip_memory_check", True)
    with pytest.raises(UserError, match="none"):
        train.main(config, tmp_path / "run")


def test_a_wrong_mesh_is_refused_before_data_are_read(tmp_path):
    none, run = tmp_path / "none", tmp_path / "run"
    done = finish(
        "train",
        "--config=configs/pods/gemma2_2b_v5e8.py",
        f"--config.task.data_dir={none}",
        f"--workdir={run}",
    )
    assert done.returncode == 2 and not run.exists() and not done.stdout
    (line,) = done.stderr.splitlines()
    assert "mesh.fsdp=2 and mesh.tensor=4 need 8 devices, and there are" in line
