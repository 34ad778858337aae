import errno
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from expert_iter.errors import UserError
from expert_iter.storage import tree_store
from expert_iter.storage.tree_store import StoreConfig, TreeFile, TreeStore, read, stored
from tests.forks import ROOT

KEEP_ALL = StoreConfig()


@pytest.fixture(scope="module")
def one_file(tmp_path_factory):
    """The size of a file with one small record, in bytes."""
    path = tmp_path_factory.mktemp("size") / "one"
    return tree_store.write_file(path, [b"x"])


def write(store, round, unit, *records):
    store.start_writing(round, unit, lambda: list(records))
    store.finish()


def contents(folder):
    return {file[:]: read(folder, file) for file in stored(folder)}


def test_each_unit_of_each_process_has_a_file(tmp_path):
    for process in (0, 1):
        store = TreeStore(tmp_path / "trees", KEEP_ALL, process, processes=2)
        write(store, 3, 7, b"a%d" % process, b"b")
        write(store, 3, 8, b"c")
    assert sorted(os.listdir(tmp_path / "trees")) == [
        f"round-0003.unit-000{unit}.process-{process}.array_record"
        for unit in (7, 8)
        for process in (0, 1)
    ]
    assert contents(tmp_path / "trees") == {
        (3, 7, 0): [b"a0", b"b"],
        (3, 7, 1): [b"a1", b"b"],
        (3, 8, 0): [b"c"],
        (3, 8, 1): [b"c"],
    }


def test_a_process_without_problems_writes_no_file(tmp_path):
    write(TreeStore(tmp_path, KEEP_ALL), 1, 0)
    assert os.listdir(tmp_path) == []


def test_records_are_made_and_written_while_the_caller_goes_on(tmp_path):
    store, may_go = TreeStore(tmp_path, KEEP_ALL), threading.Event()
    store.start_writing(1, 0, lambda: may_go.wait(60) and [b"late"])
    assert stored(tmp_path) == []
    may_go.set()
    store.finish()
    assert contents(tmp_path) == {(1, 0, 0): [b"late"]}


def test_a_resumed_unit_overwrites_itself_and_what_came_after_it(tmp_path):
    store = TreeStore(tmp_path, KEEP_ALL)
    for unit in range(4):
        write(store, 1, unit, b"old%d" % unit)
    resumed = TreeStore(tmp_path, KEEP_ALL)
    write(resumed, 1, 2, b"new")
    assert contents(tmp_path) == {(1, 0, 0): [b"old0"], (1, 1, 0): [b"old1"], (1, 2, 0): [b"new"]}


def test_fewer_processes_take_over_the_files_of_those_that_are_gone(tmp_path):
    for process in range(4):
        store = TreeStore(tmp_path, KEEP_ALL, process, processes=4)
        for unit in (0, 1):
            write(store, 1, unit, b"old%d" % process)
    for process in range(2):
        write(TreeStore(tmp_path, KEEP_ALL, process, processes=2), 1, 1, b"new%d" % process)
    assert contents(tmp_path) == {
        **{(1, 0, process): [b"old%d" % process] for process in range(4)},
        **{(1, 1, process): [b"new%d" % process] for process in range(2)},
    }


def test_the_oldest_files_are_removed_when_the_store_is_full(tmp_path, one_file):
    room_for_three = StoreConfig(gigabytes=3.5 * one_file / 1e9)
    for unit in range(5):  # each by a process of its own: what is there counts
        write(TreeStore(tmp_path, room_for_three), 1 + unit // 3, unit, b"%d" % unit)
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 3.5 * one_file
    assert [file[:2] for file in stored(tmp_path)] == [(1, 2), (2, 3), (2, 4)]


def test_processes_share_the_room(tmp_path, one_file):
    room_for_four = StoreConfig(gigabytes=4.5 * one_file / 1e9)
    for process in (0, 1):
        store = TreeStore(tmp_path, room_for_four, process, processes=2)
        for unit in range(3):
            write(store, 1, unit, b"x")
    assert [file[1:] for file in stored(tmp_path)] == [(1, 0), (1, 1), (2, 0), (2, 1)]


def test_a_store_of_no_size_writes_and_makes_nothing(tmp_path):
    def records():
        raise AssertionError("made in vain")

    store = TreeStore(tmp_path / "trees", StoreConfig(gigabytes=0.0))
    store.start_writing(1, 0, records)
    store.finish()
    assert not (tmp_path / "trees").exists() and stored(tmp_path / "trees") == []


def test_a_full_disk_is_one_clear_line_and_leaves_the_old_trees(tmp_path):
    code = """if True:
        import resource, sys
        import numpy as np
        from expert_iter.errors import UserError
        from expert_iter.storage.tree_store import StoreConfig, TreeStore
        store = TreeStore(sys.argv[1], StoreConfig())
        store.start_writing(1, 0, lambda: [b"good"])
        store.finish()
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        noise = np.random.default_rng(0).bytes(4_000_000)
        store.start_writing(1, 1, lambda: [noise])
        try:
            store.finish()
        except UserError as error:
            print(error)
    """
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert os.strerror(errno.EFBIG) in done.stdout and "store.gigabytes" in done.stdout
    assert done.stdout.count("\n") == 1
    assert len(os.listdir(tmp_path)) == 1 and contents(tmp_path) == {(1, 0, 0): [b"good"]}


def test_a_folder_that_cannot_be_made_is_one_clear_line_of_the_next_call(tmp_path):
    (tmp_path / "trees").write_text("a file")
    store = TreeStore(tmp_path / "trees", KEEP_ALL)
    store.start_writing(1, 0, lambda: [b"x"])
    with pytest.raises(UserError, match="trees cannot be written to .*trees: "):
        store.start_writing(1, 1, lambda: [b"x"])
    store.finish()  # it is said once


@pytest.mark.parametrize("left", [0, 1000, 100_000])
def test_a_damaged_file_is_named(tmp_path, left):
    file = TreeFile(1, 0, 0)
    tree_store.write_file(tmp_path / file.name, [np.random.default_rng(0).bytes(200_000)])
    data = (tmp_path / file.name).read_bytes()
    (tmp_path / file.name).write_bytes(data[:left])
    with pytest.raises(UserError, match=f"{file.name} is damaged"):
        read(tmp_path, file)


def test_a_file_removed_meanwhile_has_no_trees(tmp_path):
    assert read(tmp_path, TreeFile(1, 0, 0)) == []


def test_an_object_store_is_written_and_read_through_a_local_file(tmp_path, monkeypatch):
    monkeypatch.setattr(tree_store, "is_local", lambda _: False)
    write(TreeStore(tmp_path / "trees", KEEP_ALL), 1, 0, b"a", b"b")
    assert contents(tmp_path / "trees") == {(1, 0, 0): [b"a", b"b"]}
    assert len(os.listdir(tmp_path / "trees")) == 1


def test_a_negative_size_is_refused():
    with pytest.raises(UserError, match="store.gigabytes"):
        StoreConfig(gigabytes=-1.0)
