"""A user's own modules: found where the user is, remembered by the run, and one line if not."""

import subprocess
import sys

import pytest

from expert_iter import extensions
from expert_iter.errors import UserError
from tests.tiny import FLAGS, ROOT, XLA_FLAGS

EXPERT = """
from expert_iter.search.experts import EXPERTS, grown_by

def likeliest(tree, config):
    return tree.log_pi_NxK

EXPERTS["likeliest"] = grown_by(likeliest)
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A directory of the user's, in which Python was not started."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(extensions, "_loaded", [])
    return tmp_path


def test_modules_are_found_in_the_working_directory(here):
    (here / "one_of_mine.py").write_text("VALUE = 1")
    (here / "two_of_mine.py").write_text("import one_of_mine\nVALUE = one_of_mine.VALUE + 1")
    extensions.load("two_of_mine, one_of_mine")
    assert sys.modules["two_of_mine"].VALUE == 2
    assert extensions.loaded() == "two_of_mine,one_of_mine"
    extensions.load("")
    assert extensions.loaded() == "two_of_mine,one_of_mine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "config.imports=broken: there is no module broken; run from the directory"),
        ("import no_such_package", "the module fails: ModuleNotFoundError: No module named 'no_su"),
        ("1 / 0", "the module fails: ZeroDivisionError: division by zero"),
        ("def f(:", "the module fails: SyntaxError"),
    ],
)
def test_a_module_that_cannot_be_loaded_is_one_line(here, text, message):
    if text is not None:
        (here / "broken.py").write_text(text)
    with pytest.raises(UserError, match=message):
        extensions.load("broken")
    assert extensions.loaded() == ""


def run(command, cwd, *arguments):
    return subprocess.run(
        [sys.executable, "-m", f"expert_iter.{command}", *arguments],
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "XLA_FLAGS": XLA_FLAGS, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_a_run_remembers_the_module_of_its_expert(tmp_path):
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir(), elsewhere.mkdir()
    (home / "my_expert.py").write_text(EXPERT)
    flags = [flag.replace("configs/", f"{ROOT}/configs/") for flag in FLAGS]
    own = "--config.imports=my_expert", "--config.run.expert=likeliest", "--config.run.rounds=1"
    ended = run("train", home, *flags, "--workdir=run", *own)
    assert ended.returncode == 0, ended.stderr[-2000:]
    solved = run("solve", home, "--workdir=run", "--expert=likeliest", "7 9 11 -> 14")
    assert solved.returncode == 0, solved.stderr[-2000:]
    lost = run("solve", elsewhere, f"--workdir={home / 'run'}", "7 9 11 -> 14")
    assert lost.returncode == 2
    assert lost.stderr.startswith("error: config.imports=my_expert: there is no module my_expert;")
