"""setup.sh, against stand-ins for Python, and the check at its end."""

import importlib.util
import shutil
import sys
from types import SimpleNamespace

import jax
import pytest
from jax._src import hardware_utils

from expert_iter import cli
from tests.launch.scripts import LAUNCH, launch, write_program

# What `python3 -m venv .venv` leaves: a pip, and a Python that ends with CODE.
PYTHON3 = """
[[ "$1" == -c ]] && exit
mkdir -p .venv/bin
printf '#!/usr/bin/env bash\\necho "pip $*"\\n' >.venv/bin/pip
printf '#!/usr/bin/env bash\\necho "python $*"; exit %s\\n' "$CODE" >.venv/bin/python
chmod 755 .venv/bin/*
"""


@pytest.mark.parametrize(
    "code, says, ends",
    [(0, "", 0), (2, "", 2), (124, "warning: JAX did not start the tpu devices", 0)],
)
def test_setup_ends_with_the_check(tmp_path, code, says, ends):
    shutil.copytree(LAUNCH, tmp_path / "launch")
    write_program(tmp_path / "tools" / "python3", PYTHON3)
    script = tmp_path / "launch" / "setup.sh"
    result = launch(script, "tpu", path=[tmp_path / "tools"], CODE=code)
    assert result.returncode == ends and result.stderr.startswith(says), result.stderr
    assert result.stdout.splitlines() == [
        "pip install --quiet --disable-pip-version-check --editable .[tpu]",
        "python launch/check.py tpu",
    ]


@pytest.fixture
def check(monkeypatch):
    """The main function of check.py, on a host with these chips and cards, which JAX sees."""
    spec = importlib.util.spec_from_file_location("check", LAUNCH / "check.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(cli, "quiet", lambda: None)
    monkeypatch.setattr(jax.config, "update", lambda name, value: None)
    for name in module.ONE_CHIP:
        monkeypatch.setenv(name, "")  # taken back at the end

    def main(accelerator, chips=0, card=False, devices=lambda: []):
        count = "num_available_tpu_chips_and_device_id"
        monkeypatch.setattr(hardware_utils, count, lambda: (chips, None))
        monkeypatch.setattr(hardware_utils, "has_visible_nvidia_gpu", lambda: card)
        monkeypatch.setattr(jax, "devices", devices)
        return module.main(accelerator)

    return main


def of_kind(kind, count):
    return lambda: [SimpleNamespace(device_kind=kind)] * count


def test_the_check_says_what_the_host_has(check, capsys):
    assert check("tpu", chips=4, devices=of_kind("TPU v5 lite", 1)) == 0  # JAX is shown one
    assert check("cuda12", card=True, devices=of_kind("NVIDIA H200", 8)) == 0
    said = capsys.readouterr()
    imports = f"expert_iter imports; JAX {jax.__version__} finds"
    assert said.out.splitlines() == [
        f"{imports} 4 × TPU v5 lite on this host",
        f"{imports} 8 × NVIDIA H200 on this host",
    ]
    assert said.err == ""


def busy():
    raise RuntimeError("Unable to initialize backend 'tpu':\nThe TPU is already in use")


@pytest.mark.parametrize(
    "accelerator, host, says",
    [
        ("tpu", {}, "JAX can use no TPU here: this host has none"),
        ("cuda12", {}, "JAX can use no NVIDIA GPU here: this host has none"),
        ("cuda13", {"chips": 4}, "JAX can use no NVIDIA GPU here: this host has TPUs instead"),
        ("tpu", {"card": True}, "JAX can use no TPU here: this host has NVIDIA GPUs instead"),
        ("tpu", {"chips": 4, "devices": busy}, "'tpu': The TPU is already in use"),
    ],
)
def test_an_accelerator_that_is_not_there_is_a_warning_in_one_line(
    check, capsys, accelerator, host, says
):
    assert check(accelerator, **host) == 0
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert line.startswith(f"warning: expert_iter is installed for {accelerator}, but ")
    assert line.endswith(says) and said.out == ""


def test_a_package_that_does_not_import_is_an_error(check, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "expert_iter.loop", None)
    assert check("tpu") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: expert_iter is installed, but does not import: ")
