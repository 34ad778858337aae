"""The command `trees` on a store written out by hand."""

import json
import os
import subprocess
import sys

import pytest

from expert_iter.storage import tree_store
from expert_iter.storage.tree_record import to_bytes
from expert_iter.storage.tree_store import TreeFile
from tests.forks import ROOT
from tests.storage.tree_records import record


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """Round 1 searched a and b, and solved a; round 2 searched b again and solved it."""
    workdir = tmp_path_factory.mktemp("run")
    (workdir / "trees").mkdir()
    for round, found in ((1, {"a": True, "b": False}), (2, {"b": True})):
        made = [to_bytes(record(id, round, solved=solved)) for id, solved in found.items()]
        tree_store.write_file(workdir / "trees" / TreeFile(round, 0, 0).name, made)
    return workdir


WITHOUT_JAX = """
import sys

class NoJax:
    def find_spec(self, name, *_):
        if name.partition(".")[0] == "jax":
            raise ImportError(name)

sys.meta_path.insert(0, NoJax())
from expert_iter.trees import run
run()
"""


def trees(workdir, *flags):
    """What comes of the command where JAX cannot be imported."""
    command = [sys.executable, "-c", WITHOUT_JAX, f"--workdir={workdir}", *flags]
    environment = os.environ | {"PYTHONIOENCODING": "utf-8"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def listed(done):
    assert done.returncode == 0, done.stderr
    return [line.split() for line in done.stdout.splitlines()[1:]]


def test_each_tree_is_a_line(workdir):
    assert listed(trees(workdir)) == [
        ["1", "0", "yes", "2", "0.75", "a"],
        ["1", "0", "no", "2", "0.75", "b"],
        ["2", "0", "yes", "2", "0.75", "b"],
    ]


@pytest.mark.parametrize(
    "flags, left",
    [
        (["--solved"], ["1a", "2b"]),
        (["--unsolved"], ["1b"]),
        (["--round=1"], ["1a", "1b"]),
        (["--problem=b"], ["1b", "2b"]),
        (["--problem=b", "--solved"], ["2b"]),
        (["--round=3"], []),
    ],
)
def test_flags_select(workdir, flags, left):
    assert [line[0] + line[-1] for line in listed(trees(workdir, *flags))] == left


def test_the_newest_of_those_selected_is_drawn(workdir):
    newest, first = trees(workdir, "--show"), trees(workdir, "--show", "--unsolved")
    assert "problem b, searched by mcts in round 2" in newest.stdout
    assert "problem b, searched by mcts in round 1" in first.stdout
    for done, verdict in ((newest, "right"), (first, "wrong")):
        [line] = [line for line in done.stdout.splitlines() if "done" in line]
        assert verdict in line
    assert trees(workdir, "--show", "--round=9").stderr.startswith("error: no stored tree")


def test_those_selected_are_exported_as_json_lines(workdir, tmp_path):
    done = trees(workdir, "--problem=b", f"--export={tmp_path / 'b.jsonl'}")
    assert done.returncode == 0 and "2 trees" in done.stdout
    made = [json.loads(line) for line in (tmp_path / "b.jsonl").read_text().splitlines()]
    assert [(tree["round"], tree["problem"], tree["solved"]) for tree in made] == [
        (1, "b", False),
        (2, "b", True),
    ]
    assert [node["text"] for node in made[0]["nodes"]] == [
        "1 2 -> 3\n",
        "1 + 1 = 2\n",
        "1 + 2 = 3\n",
        "done\n",
    ]


@pytest.mark.parametrize(
    "flags, said",
    [
        (["--solved", "--unsolved"], "give one of them"),
        (["--show", "--export=x"], "give one of them"),
        (["--round=-1"], "round"),
        (["--solvd"], "--solved"),
        (["--export=/nowhere/x"], "--export=/nowhere/x cannot be written"),
        (["--workdir="], "--workdir is missing"),
        (["--workdir=/nowhere"], "does not exist"),
    ],
)
def test_mistakes_are_one_line(workdir, flags, said):
    done = trees(workdir, *flags)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and said in done.stderr


def test_a_run_without_trees_is_one_line(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    done = trees(tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "holds no trees" in done.stderr


def test_a_damaged_file_is_one_line(tmp_path):
    (tmp_path / "trees").mkdir()
    (tmp_path / "trees" / TreeFile(1, 0, 0).name).write_bytes(b"no records")
    done = trees(tmp_path)
    assert done.returncode == 2 and "is damaged" in done.stderr
