"""Launch scripts run here, and programs to stand in for what they call."""

import os
import shlex
import subprocess
import textwrap
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "launch"
FLAGS = ["--config=configs/countdown.py", "--config.task.prompt=two words, it's"]


def write_program(path, text, interpreter="/usr/bin/env bash"):
    """Makes an executable script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{interpreter}\n{textwrap.dedent(text)}")
    path.chmod(0o755)
    return path


def launch(name, *arguments, path=(), cwd=None, wait=30, **environment):
    """Runs a launch script, of the checkout or at a path, with `path` before PATH."""
    script = name if isinstance(name, Path) else LAUNCH / f"{name}.sh"
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "XLA_FLAGS"))}
    search = os.pathsep.join([*map(str, path), clean.pop("PATH")])
    return subprocess.run(
        ["bash", str(script), *arguments],
        env={**clean, "PATH": search, **{k: str(v) for k, v in environment.items()}},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=wait,
    )


def lines(result):
    """A dry run's commands, as words."""
    assert result.returncode == 0, result.stderr
    return [shlex.split(line) for line in result.stdout.splitlines()]


def wait_for(path, seconds=10):
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} does not come"
        time.sleep(0.02)
