"""What the tests of several launch scripts use."""

import pytest

from tests.launch.scripts import write_program

OUTSIDE = "gcloud xpk srun scontrol sbatch tmux tar ssh python3 docker kubectl nvidia-smi".split()


@pytest.fixture
def forbidden(tmp_path):
    """A folder for PATH in which every tool of the outside leaves a trace and fails."""
    folder, trace = tmp_path / "forbidden", tmp_path / "called"
    for name in OUTSIDE:
        write_program(folder / name, f'echo "{name} $*" >>"{trace}"\nexit 1\n')
    yield folder
    assert not trace.exists(), trace.read_text()
