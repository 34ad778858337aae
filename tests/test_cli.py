"""Commands as people meet them: a small one of our own, in a real process."""

import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest
from ml_collections import ConfigDict

from expert_iter import cli, overrides
from expert_iter.config import default_config
from expert_iter.errors import UserError
from tests.tiny import finish

COMMAND = '''
"""A small command."""

import errno, json, os, sys, time
from absl import flags
from expert_iter import cli
from expert_iter.errors import UserError

FAIL = flags.DEFINE_string("fail", None, "How to fail.")

def main(config, workdir, problem=None):
    if FAIL.value == "user":
        raise UserError("two\\nlines")
    if FAIL.value == "bug":
        raise ValueError("a bug")
    if FAIL.value == "full":
        with open("/dev/full", "w") as file:
            file.write("x")
    if FAIL.value == "missing":
        open("/no/such/file")
    if FAIL.value == "not":
        import jax
        return print(jax.device_count())
    if FAIL.value == "wait":
        print("waiting", flush=True)
        time.sleep(60)
    print(json.dumps([config.to_dict(), str(workdir), problem]))

if __name__ == "__main__":
    cli.run(main, os.environ.get("SOURCE", "file"))
'''

CONFIG = """
from ml_collections import ConfigDict

def get_config(size="small"):
    return ConfigDict({
        "search": {
            "num_simulations": 16,
            "discount": 1.0,
            "deep": {"widths": (4, 8), "names": ["a"]},
        },
        "run": {"rounds": 3, "name": size, "fresh": True},
    })
"""

DEFAULTS = {
    "search": {"num_simulations": 16, "discount": 1.0, "deep": {"widths": [4, 8], "names": ["a"]}},
    "run": {"rounds": 3, "name": "small", "fresh": True},
}


@pytest.fixture
def command(tmp_path):
    """Runs the command in a directory of its own: (exit code, stdout, stderr)."""
    (tmp_path / "command.py").write_text(COMMAND)
    (tmp_path / "config.py").write_text(CONFIG)

    def call(*arguments, **environment):
        result = subprocess.run(
            [sys.executable, "command.py", *arguments],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": os.getcwd()} | environment,
            capture_output=True,
            text=True,
        )
        return result.returncode, result.stdout, result.stderr

    return call


def assert_one_line(result, *parts):
    code, out, err = result
    assert code == 2 and out == "", result
    assert err.startswith("error: ") and err.count("\n") == 1, err
    for part in parts:
        assert part in err


USUAL = ("--config=config.py", "--workdir=runs/1")


def test_it_runs(command):
    code, out, err = command(
        "--config=config.py:large",
        "--config.search.num_simulations=32",
        "a problem",
        "--config.search.discount",
        "1",
        "--noconfig.run.fresh",
        "--config.search.deep.widths=1,2,3",
        "--config.search.deep.names=b",
        "--workdir",
        "runs/1",
    )
    assert (code, err) == (0, "")
    config, workdir, problem = json.loads(out)
    assert workdir == "runs/1" and problem == "a problem"
    assert config == {
        "search": {
            "num_simulations": 32,
            "discount": 1.0,
            "deep": {"widths": [1, 2, 3], "names": ["b"]},
        },
        "run": {"rounds": 3, "name": "large", "fresh": False},
    }


def test_another_task_has_settings_of_its_own(command, tmp_path):
    (tmp_path / "old").mkdir()
    kept = default_config("gsm8k")
    kept.model.width = 96
    (tmp_path / "old" / "config.json").write_text(kept.to_json())
    options = "--workdir=old", "--config.task.data_dir=here", "--config.task.name=svamp"
    code, out, err = command(*options, SOURCE="workdir")
    assert (code, err) == (0, "")
    config, _, _ = json.loads(out)
    assert set(config["task"]) == set(default_config("svamp").task)
    assert config["task"]["data_dir"] == "here" and config["model"]["width"] == 96
    same = command("--workdir=old", "--config.task.name=gsm8k", SOURCE="workdir")
    assert json.loads(same[1])[0]["task"] == kept.task.to_dict()
    near = command("--workdir=old", "--config.task.name=svamps", SOURCE="workdir")
    assert_one_line(near, "no task 'svamps'", "svamp")


def test_settings_of_a_workdir(command, tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "config.json").write_text(json.dumps(DEFAULTS))
    options = ("--workdir=old", "--config.search.deep.widths=(2,)")
    code, out, err = command(*options, SOURCE="workdir")
    assert (code, err) == (0, "")
    assert json.loads(out)[0]["search"]["deep"]["widths"] == [2]

    near = command("--workdir=old", "--config.run.round=3", SOURCE="workdir")
    assert_one_line(near, "config has no key 'run.round'; did you mean 'run.rounds'?")
    assert_one_line(command("--workdir=new", SOURCE="workdir"), "'new' does not exist")
    assert_one_line(command(*USUAL, SOURCE="workdir"), "--config=FILE is for training")


@pytest.mark.parametrize(
    "flag, parts",
    [
        ("--config.serach.num_simulations=3", ["no key 'serach'; did you mean 'search'?"]),
        (
            "--config.search.num_simulation=3",
            ["no key 'search.num_simulation'; did you mean 'search.num_simulations'?"],
        ),
        ("--config.search.deep.width=3", ["did you mean 'search.deep.widths'?"]),
        ("--config.num_simulations=3", ["did you mean 'search.num_simulations'?"]),
        ("--config.search.zzz=3", ["no key 'search.zzz'; keys: deep, discount, num_simulations"]),
        ("--config.search.discount.x=3", ["'search.discount' is a single value"]),
        ("--config.search=3", ["'search' is a section", "num_simulations"]),
        (
            "--config.search.num_simulations=abc",
            ["'search.num_simulations' takes a whole number (now 16), not 'abc'"],
        ),
        ("--config.search.num_simulations=1.5", ["takes a whole number", "'1.5'"]),
        ("--config.search.num_simulations", ["--config.search.num_simulations"]),
        ("--config.search.discount=x", ["takes a number (now 1.0), not 'x'"]),
        ("--config.run.fresh=maybe", ["takes true or false (now true), not 'maybe'"]),
        ("--config.search.deep.widths=1,x", ["separated by commas (now 4,8), not '1,x'"]),
        ("--config.search.deep.widths=1.5,2", ["separated by commas (now 4,8), not '1.5,2'"]),
        ("--config.search.deep.widths=(1,", ["separated by commas (now 4,8), not '(1,'"]),
        ("--workdri=x", ["unknown flag --workdri; did you mean '--workdir'?"]),
        ("--search.num_simulations=3", ["did you mean '--config.search.num_simulations'?"]),
        ("--workdir=", ["--workdir is missing"]),
        ("--config=", ["--config is missing"]),
        ("--config=confg.py", ["no file 'confg.py'; did you mean 'config.py'"]),
        ("--config=config.py:a:b:c:", []),
        ("--fail=user", ["two lines"]),
        ("--fail=full", ["No space left on device"]),
    ],
)
def test_mistakes_are_one_line(command, flag, parts):
    if not parts:
        assert command(*USUAL, flag)[0] == 0
    else:
        assert_one_line(command(*USUAL, flag), *parts)


@pytest.mark.parametrize(
    "source, parts",
    [
        ("def get_config(:\n  pass", ["line 1: SyntaxError"]),
        ("\ndef get_config():\n  return 1 / 0", ["line 3: ZeroDivisionError"]),
        ("import no_such_module", ["line 1: ModuleNotFoundError", "no_such_module"]),
        ("x = 1", ["defines no get_config()"]),
        ("def get_config(): pass", ["returns no ConfigDict"]),
        (
            "from expert_iter.errors import UserError\ndef get_config(): raise UserError('so')",
            ["error: so"],
        ),
    ],
)
def test_a_broken_config_file_is_one_line(command, tmp_path, source, parts):
    (tmp_path / "config.py").write_text(source)
    assert_one_line(command(*USUAL), *parts)


def test_too_many_arguments(command):
    assert_one_line(command(*USUAL, "one", "two"), "'one', 'two'", "--help")


def test_the_traceback_is_shown_on_demand(command):
    code, _, err = command(*USUAL, "--fail=user", EXPERT_ITER_TRACEBACK="1")
    assert code == 2 and "Traceback" in err and err.endswith("error: two lines\n")


@pytest.mark.parametrize("how", ["bug", "missing"])
def test_a_bug_keeps_its_traceback(command, how):
    code, _, err = command(*USUAL, f"--fail={how}")
    assert code == 1 and "Traceback" in err


def test_help(command):
    code, out, err = command("--help")
    assert code == 0 and err == ""
    for part in ("A small command.", "--config=FILE", "--workdir=DIR", "How to fail."):
        assert part in out


@pytest.mark.parametrize("name", ["evaluate", "export", "report", "solve"])
def test_what_loads_a_network_can_be_told_which(name):
    done = finish(name, "--help")
    assert done.returncode == 0 and "--checkpoint: Which checkpoint: last, best" in done.stdout


def test_training_goes_on_from_the_last_checkpoint_alone(tmp_path):
    done = finish(
        "train", "--config=configs/countdown.py", f"--workdir={tmp_path}", "--checkpoint=1"
    )
    assert_one_line((done.returncode, done.stdout, done.stderr), "unknown flag --checkpoint")


def test_ctrl_c(tmp_path):
    (tmp_path / "command.py").write_text(COMMAND)
    (tmp_path / "config.py").write_text(CONFIG)
    process = subprocess.Popen(
        [sys.executable, "command.py", *USUAL, "--fail=wait"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130
    assert err == "stopped; run the same command to resume\n"


def cache_settings(**environment):
    code = textwrap.dedent("""
        import jax
        from expert_iter import cli
        cli.enable_compilation_cache()
        print(jax.config.jax_compilation_cache_dir)
    """)
    inherited = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.strip(), result.stderr


def test_the_compilation_cache_has_a_place(tmp_path):
    default = str(tmp_path / "expert_iter" / "jax")
    assert cache_settings(XDG_CACHE_HOME=str(tmp_path)) == (default, "")
    assert os.path.isdir(default)
    given = str(tmp_path / "given")
    assert cache_settings(JAX_COMPILATION_CACHE_DIR=given) == (given, "")
    (tmp_path / "file").touch()
    used, said = cache_settings(XDG_CACHE_HOME=str(tmp_path / "file"))
    assert used == "None"
    assert said.count("\n") == 1 and "cannot be written" in said


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core")
@pytest.mark.parametrize("learner, devices", [({"rows": 16}, 2), ({"rows": 15}, 1), (None, 1)])
def test_a_cpu_is_two_devices_for_a_learner_of_even_rows(command, tmp_path, learner, devices):
    (tmp_path / "config.py").write_text(
        f"from ml_collections import ConfigDict\n\n"
        f"get_config = lambda: ConfigDict({{'learner': {learner}}})\n"
    )
    assert command(*USUAL, "--fail=not", XLA_FLAGS="") == (0, f"{devices}\n", "")


def test_an_override_follows_a_reference():
    config = ConfigDict({"width": 4, "list": [1, 2]})
    config.double = config.get_ref("width") * 2
    assert overrides.override(config, ["prog", "--config.width=8", "rest"]) == ["prog", "rest"]
    assert config.double == 16 and config.list == (1, 2)


def test_the_types_of_a_list_are_kept():
    config = ConfigDict({"floats": (0.5, 1.0), "texts": ("a",), "none": ()})
    argv = ["prog", "--config.floats=1,2.5", "--config.texts=b,c", "--config.none=1,a"]
    overrides.override(config, argv[:2])
    assert config.floats == (1, 2.5)
    with pytest.raises(UserError, match="texts"):
        overrides.override(config, ["prog", "--config.texts=1,2"])


def test_run_without_settings(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["prog", "a", "b"])
    with pytest.raises(SystemExit) as exit_:
        cli.run(lambda *arguments: print(arguments), config=None)
    assert not exit_.value.code
    assert capsys.readouterr().out == "('a', 'b')\n"
