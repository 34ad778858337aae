import sys

import pytest

from expert_iter.errors import UserError
from expert_iter.tasks import load_task
from expert_iter.tasks.builders import TaskBuilder
from expert_iter.tasks.task import SPLITS

SETTINGS = {
    "countdown": {"train_size": 300, "validation_size": 20, "test_size": 30},
    "game24": {"train_targets": "any", "train_size": 300},
}


@pytest.fixture(params=SETTINGS)
def name(request):
    return request.param


def test_training_from_a_dataset_gives_the_same_problems(name, tmp_path, capfd):
    settings = SETTINGS[name]
    stored = {**settings, "data_dir": str(tmp_path)}
    in_memory, built, read = (load_task(name, s) for s in (settings, stored, stored))
    for split in SPLITS:
        assert in_memory.problems(split) == built.problems(split) == read.problems(split)
    assert "tensorflow" not in sys.modules
    assert capfd.readouterr().out == ""
    # Other settings do not get this dataset.
    other = load_task(name, {**stored, "seed": 1}).problems("train")
    assert other != in_memory.problems("train")


def test_data_source_fields_and_order(tmp_path):
    task = load_task("countdown", SETTINGS["countdown"])
    builder = TaskBuilder(task, data_dir=tmp_path)
    builder.download_and_prepare()
    source = builder.as_data_source("train")
    problems = task.problems("train")
    assert len(source) == len(problems)
    for i in (0, 17, 299):
        numbers, target = problems[i].answer
        assert source[i] == {
            "id": problems[i].id.encode(),
            "numbers": " ".join(map(str, numbers)).encode(),
            "target": str(target).encode(),
        }
    assert builder.info.file_format.value == "array_record"


def test_a_changed_problems_file_is_built_anew(tmp_path):
    file = tmp_path / "mine.csv"
    rows = [f"{a} {a + 1},{2 * a + 1}" for a in range(100)]
    settings = {"problems_file": str(file), "data_dir": str(tmp_path / "data")}
    for n in (100, 90):
        file.write_text("\n".join(["numbers,target", *rows[:n]]))
        task = load_task("countdown", settings)
        assert sum(len(task.problems(split)) for split in SPLITS) == n
    file.write_text("numbers,target\n1 2,3\noops\n")
    with pytest.raises(UserError, match="mine.csv, line 3"):
        load_task("countdown", settings).problems("train")


def test_a_damaged_dataset(tmp_path):
    settings = {**SETTINGS["countdown"], "data_dir": str(tmp_path)}
    load_task("countdown", settings).problems("train")
    (file,) = tmp_path.glob("**/*train*array_record*")
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(UserError, match="is damaged, delete it"):
        load_task("countdown", settings).problems("train")


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="task.data_dir="):
        load_task("countdown", {"data_dir": str(tmp_path / "file")}).problems("train")
