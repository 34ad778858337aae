import json
import os
import signal
import subprocess
import sys

import pytest

from expert_iter.errors import UserError
from expert_iter.storage import files
from expert_iter.storage import workdir as lib

CONFIG = {"search": {"num_simulations": 16, "widths": [1, 2]}, "run": {"rounds": 3}, "seed": 0}


def changed(**sections):
    config = json.loads(json.dumps(CONFIG))
    for name, values in sections.items():
        config[name] = {**config.get(name, {}), **values}
    return config


def test_a_path_may_begin_at_the_users_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.path("~/runs/1") == tmp_path / "runs" / "1"
    assert str(files.path("runs/~1")) == "runs/~1"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gs://bucket/run", r"gs://bucket/run: .* gcsfs: pip install 'expert_iter\[gcs\]'"),
        ("s3://bucket/run", "needs the package s3fs"),
        ("ftp://host/run", "use one of gs://, s3://"),
    ],
)
def test_a_store_that_cannot_be_reached_says_what_to_install(monkeypatch, name, message):
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    with pytest.raises(UserError, match=message):
        files.path(name)


def test_write_atomic_replaces_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "file"
    files.write_atomic(path, "one")
    files.write_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["file"]


def test_write_atomic_keeps_the_old_content_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "file"
    files.write_atomic(path, "old")

    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write_atomic(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_claim_writes_then_accepts_the_same_config(tmp_path):
    workdir = tmp_path / "a" / "b"
    lib.claim(workdir, CONFIG)
    # A tuple is what a config has where JSON has a list.
    lib.claim(workdir, changed(search={"widths": (1, 2)}))
    assert lib.read_config(workdir) == CONFIG


def test_claim_names_each_differing_key_and_overwrites_nothing(tmp_path):
    lib.claim(tmp_path, CONFIG)
    before = (tmp_path / "config.json").read_bytes()
    other = changed(search={"num_simulations": 32, "new": True})
    del other["seed"]
    with pytest.raises(UserError) as error:
        lib.claim(tmp_path, other)
    text = str(error.value)
    assert "search.num_simulations was 16, is now 32" in text
    assert "search.new was absent, is now true" in text
    assert "seed was 0, is now absent" in text
    assert "widths" not in text and "\n" not in text
    assert (tmp_path / "config.json").read_bytes() == before


def test_claim_shows_five_differences_and_counts_the_rest(tmp_path):
    lib.claim(tmp_path, {str(i): 0 for i in range(9)})
    with pytest.raises(UserError) as error:
        lib.claim(tmp_path, {str(i): 1 for i in range(9)})
    assert str(error.value).count("was 0") == 5
    assert "and 4 more" in str(error.value)


@pytest.mark.parametrize("allowed", ["run.rounds", "run"])
def test_claim_takes_over_what_may_differ(tmp_path, allowed):
    lib.claim(tmp_path, CONFIG)
    lib.claim(tmp_path, changed(run={"rounds": 9}), may_differ=[allowed])
    assert lib.read_config(tmp_path)["run"]["rounds"] == 9


def test_may_differ_is_no_prefix_of_a_longer_key(tmp_path):
    lib.claim(tmp_path, {"runs": 1})
    with pytest.raises(UserError, match="runs was 1"):
        lib.claim(tmp_path, {"runs": 2}, may_differ=["run"])


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"3", b""])
def test_a_damaged_config_is_said_and_kept(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    for call in (lambda: lib.read_config(tmp_path), lambda: lib.claim(tmp_path, CONFIG)):
        with pytest.raises(UserError, match="config.json is damaged"):
            call()
    assert (tmp_path / "config.json").read_bytes() == content


def test_checkpoints_without_a_config_are_not_claimed(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UserError, match="no config.json"):
        lib.claim(tmp_path, CONFIG)


def test_read_config_of_what_is_no_workdir(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        lib.read_config(tmp_path / "none")
    with pytest.raises(UserError, match="no config.json"):
        lib.read_config(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file"):
        lib.read_config(tmp_path / "file")
    with pytest.raises(UserError, match="a file has that name"):
        lib.claim(tmp_path / "file", CONFIG)


HOLDER = """
import os, sys, time
from expert_iter.storage import workdir
with workdir.lock(sys.argv[1]):
    if os.fork() == 0:  # a worker that outlives its parent
        os.close(1)
        time.sleep(5)
        os._exit(0)
    print("held", flush=True)
    time.sleep(60)
"""


def test_lock_is_exclusive_and_let_go_by_a_kill(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(UserError, match=f"process {holder.pid}"), lib.lock(tmp_path):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with lib.lock(tmp_path):
        pass
    with lib.lock(tmp_path):  # and let go by its own end
        pass
