import os
from pathlib import Path

import pytest

from expert_iter.tasks import load_task


@pytest.fixture(scope="session")
def published():
    """A function that gives a task with its published files, under $EXPERT_ITER_DATA."""

    def task_of(name, **settings):
        folder = Path(os.environ.get("EXPERT_ITER_DATA", "/nowhere"), name)
        if not folder.is_dir():
            pytest.skip(f"EXPERT_ITER_DATA names no directory with the published files of {name}")
        sizes = {"train_size": 10, "validation_size": 600, "test_size": 600}
        return load_task(name, {"data_dir": str(folder)} | sizes | settings)

    return task_of
