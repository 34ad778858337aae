import json
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest

from expert_iter.errors import UserError
from expert_iter.storage import tree_record, tree_store
from expert_iter.storage.tree_record import flattened, from_bytes, summary_of, to_bytes
from tests.forks import ROOT
from tests.storage.tree_records import record


def test_a_record_comes_back_with_every_array_and_text():
    one = record()
    again = from_bytes(to_bytes(one))
    assert again.summary == one.summary == summary_of(to_bytes(one))
    assert again.steps.text == one.steps.text and again.arrays.keys() == one.arrays.keys()
    pairs = [(again.arrays[name], array) for name, array in one.arrays.items()]
    pairs += zip(again.steps[1:], one.steps[1:], strict=True)
    for ours, theirs in pairs:
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


def test_nested_tuples_are_flattened_to_dotted_names():
    class Inner(NamedTuple):
        x: np.ndarray
        absent: None = None

    class Outer(NamedTuple):
        x: np.ndarray
        inner: Inner

    flat = flattened(Outer(np.arange(2), Inner(np.arange(3))))
    assert {name: array.tolist() for name, array in flat.items()} == {
        "x": [0, 1],
        "inner.x": [0, 1, 2],
    }


def test_a_record_of_a_later_version_is_refused(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(tree_record, "VERSION", 99)
        data = to_bytes(record())
    for read in (from_bytes, summary_of):
        with pytest.raises(UserError, match="version 99.*update expert_iter"):
            read(data)


def test_records_are_read_where_there_is_no_jax(tmp_path):
    file = tree_store.TreeFile(1, 0, 0)
    tree_store.write_file(tmp_path / file.name, [to_bytes(record())])
    code = """if True:
        import json, sys
        sys.modules["jax"] = None
        from expert_iter.storage.tree_record import from_bytes
        from expert_iter.storage.tree_store import read, stored
        [file] = stored(sys.argv[1])
        [data] = read(sys.argv[1], file)
        record = from_bytes(data)
        arrays = {name: array.tolist() for name, array in record.arrays.items()}
        print(json.dumps([record.summary.prompt, record.steps.text, arrays]))
    """
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    prompt, texts, arrays = json.loads(done.stdout)
    assert prompt == "1 2 -> 3\n" and texts == ["1 + 1 = 2\n", "1 + 2 = 3\n", "done\n"]
    assert arrays == {name: array.tolist() for name, array in record().arrays.items()}
