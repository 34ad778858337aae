import contextlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from expert_iter.errors import UserError
from expert_iter.storage import metrics as lib
from expert_iter.storage.metrics import Metrics, read


def without_time(lines):
    return [{key: value for key, value in line.items() if key != "time"} for line in lines]


def tensorboard_points(workdir):
    """Every (step, tag, value) in the event files, read by their format: TFRecord framing."""
    points = []
    for path in Path(workdir, "tensorboard").iterdir():
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            event = Event.FromString(data[at + 12 : at + 12 + length])
            points += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
            at += 12 + length + 4
    return sorted(points)


def test_lines_are_json_and_there_at_once(tmp_path):
    with contextlib.closing(Metrics(tmp_path)) as metrics:
        metrics.write(0, {"loss": np.float32(0.5), "count": np.int64(3)})
        text = (tmp_path / "metrics.jsonl").read_text()
        assert text.endswith("\n")
        assert without_time([json.loads(text)]) == [{"position": 0, "loss": 0.5, "count": 3}]
        metrics.write(1, {"loss": float("nan"), "other": float("inf")})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert "NaN" not in lines[1] and "Infinity" not in lines[1]
    assert without_time(read(tmp_path))[1] == {"position": 1, "loss": None, "other": None}


def test_a_resumed_run_has_neither_gap_nor_duplicate(tmp_path):
    metrics = Metrics(tmp_path)  # never closed: its process was killed
    for position in range(4):
        metrics.write(position, {"loss": float(position)})
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"position": 4, "lo')
    assert [line["position"] for line in read(tmp_path)] == [0, 1, 2, 3]

    with contextlib.closing(Metrics(tmp_path, resume_at=2)) as metrics:
        for position in range(2, 5):
            metrics.write(position, {"loss": 10.0 + position})
    assert [line["loss"] for line in read(tmp_path)] == [0, 1, 12, 13, 14]
    assert tensorboard_points(tmp_path) == [
        (0, "loss", 0),
        (1, "loss", 1),
        (2, "loss", 12),
        (3, "loss", 13),
        (4, "loss", 14),
    ]


def test_looking_again_at_a_finished_run_changes_nothing(tmp_path):
    with contextlib.closing(Metrics(tmp_path)) as metrics:
        metrics.write(0, {"loss": 1.0})
    before = read(tmp_path), tensorboard_points(tmp_path)
    Metrics(tmp_path, resume_at=1).close()
    assert (read(tmp_path), tensorboard_points(tmp_path)) == before


def test_several_lines_of_one_position_all_stay(tmp_path):
    with contextlib.closing(Metrics(tmp_path)) as metrics:
        metrics.write(3, {"a": 1})
        metrics.write(3, {"b": 2})
    assert without_time(read(tmp_path)) == [{"position": 3, "a": 1}, {"position": 3, "b": 2}]


@pytest.mark.parametrize("bad", ["{", "3", "[]", '{"loss": 1}', "\x00"])
def test_a_damaged_line_is_named_and_the_file_kept(tmp_path, bad):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"position": 0, "time": 1.0}\n' + bad + "\n")
    before = path.read_bytes()
    for call in (read, Metrics):
        with pytest.raises(UserError, match="metrics.jsonl, line 2 is damaged"):
            call(tmp_path)
    assert path.read_bytes() == before


def test_no_file_no_lines(tmp_path):
    assert read(tmp_path / "none") == []


def test_where_files_cannot_grow_the_lines_are_the_same_and_there_at_once(tmp_path, monkeypatch):
    """As in an object store."""
    monkeypatch.setattr(lib, "is_local", lambda _: False)
    with contextlib.closing(Metrics(tmp_path)) as metrics:
        for position in range(3):
            metrics.write(position, {"loss": float(position)})
            assert [line["loss"] for line in read(tmp_path)] == list(range(position + 1))
    with contextlib.closing(Metrics(tmp_path, resume_at=1)) as metrics:
        metrics.write(1, {"loss": 11.0})
    assert without_time(read(tmp_path)) == [
        {"position": 0, "loss": 0.0},
        {"position": 1, "loss": 11.0},
    ]
    assert not (tmp_path / "tensorboard").exists()
