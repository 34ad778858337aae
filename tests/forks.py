"""Commands of the program, run by processes forked from one that has imported it and touched no
device: that saves each of them its imports, which take longer than a small run.

What a command does from its first line on is the same as after `python -m`; that those imports work
in a process of their own is shown where `tests.tiny.typed` is used.
"""

import multiprocessing
import os
import runpy
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).parents[1]
_PRELOADED = [
    "tests.forks",
    "expert_iter.assembly",
    "expert_iter.loop",
    "expert_iter.run",
    "expert_iter.measure.summary",
    "tensorboardX",
]
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(_PRELOADED)


def start(
    command: str, arguments: list[str], environment: dict[str, str], out: Path, err: Path
) -> BaseProcess:
    """Starts expert_iter.COMMAND; what it says comes into files, which may be one and the same."""
    process = _context.Process(
        target=_run, args=(command, arguments, environment, str(out), str(err))
    )
    process.start()
    return process


def _run(
    command: str, arguments: list[str], environment: dict[str, str], out: str, err: str
) -> None:
    """The whole of a process."""
    os.environ.update(environment)
    os.chdir(ROOT)
    for number, name in ((1, out), (2, err)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND), number)

    # All programs are kept, the small ones, too, and where the tests keep theirs. JAX keeps those
    # of process 0 alone, which on CPUs no other process can use.
    from jax._src import compiler

    from expert_iter import cli

    cli.enable_compilation_cache = lambda: None
    compiler.distributed = SimpleNamespace(global_state=SimpleNamespace(process_id=0, client=None))

    sys.argv = [command, *arguments]
    runpy.run_module(f"expert_iter.{command}", run_name="__main__", alter_sys=True)
