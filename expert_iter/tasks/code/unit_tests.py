"""Verdicts on model-written code: whether it passes its tests, inside the sandbox.

Two contained processes give a verdict: a judge, which runs the tests, and a guest, which runs the
code under test and answers the judge's calls with plain data over a pipe. Tests and comparisons
are never in a process that the code under test can touch. See docs/sandbox.md.
"""

import contextlib
import dataclasses
import functools
import io
import json
import marshal
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from expert_iter.tasks.code.sandbox import Limits
from expert_iter.tasks.code.sandbox.containment import pick_containment
from expert_iter.tasks.code.sandbox.output import collect
from expert_iter.tasks.code.sandbox.program import Program, in_memory

_PASS = b"pass"
_LIMITS = Limits()
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class CodeTests:
    """What a piece of code must do; all of it source text that is trusted.

    `setup` runs before the tests, `tests` are statements such as `assert f(1) == 2`. With a
    `checker`, which defines `check(candidate)`, `entry_point` names the function that is checked.
    `prefix` is what the code continues.
    """

    setup: str
    tests: tuple[str, ...]
    entry_point: str = ""
    prefix: str = ""
    checker: str = ""


def passes(
    source: str, tests: CodeTests, limits: Limits = _LIMITS, *, within: str | None = None
) -> bool:
    """Whether the code passes all of its tests within the limits; no tests are not passed.

    Any other end is False: an error, time, memory, output, an exit. `within` names the
    containment, by default the best that works here. Raises UserError if there is none, and
    OSError only where the machine itself can start no process.
    """
    within = within or pick_containment()
    deadline = time.monotonic() + limits.seconds
    if not tests.tests and not tests.checker:
        return False
    try:
        code = _whole(source, tests).encode()
    except UnicodeEncodeError:
        return False
    task = json.dumps(dataclasses.asdict(tests)).encode()
    with contextlib.ExitStack() as stack:

        def pipe() -> tuple[io.FileIO, io.FileIO]:
            read, write = os.pipe()
            ends = open(read, "rb", 0), open(write, "wb", 0)
            for end in ends:
                stack.enter_context(end)
            return ends

        def start(script: str, data: bytes, heard: io.FileIO, says: io.FileIO, **streams) -> None:
            line = (heard.fileno(), says.fileno())
            with open(in_memory(data), "rb", 0) as stdin:
                program = Program(
                    _script(script),
                    limits,
                    within,
                    stdin=stdin.fileno(),
                    descriptors=line,
                    arguments=[str(end) for end in line],
                    **streams,
                )
            stack.enter_context(program)

        to_guest, from_judge = pipe()
        to_judge, from_guest = pipe()
        verdict, verdict_write = pipe()
        printed, print_write = pipe()
        start("guest", code, to_guest, from_guest, stdout=print_write, stderr=print_write)
        start("judge", task, to_judge, from_judge, stdout=verdict_write)
        # Each end is now with its process alone, so that a reader sees the other's end.
        for ours in (to_guest, from_judge, to_judge, from_guest, verdict_write, print_write):
            ours.close()
        pipes = [(verdict.fileno(), len(_PASS)), (printed.fileno(), limits.output_bytes)]
        (said, _), ended = collect(pipes, deadline)
        return ended == "end" and said == _PASS


@functools.cache
def _script(name: str) -> str:
    """The program of the judge or the guest, with the modules that both import.

    Compiled here once and not in each process: it runs in the interpreter that this one is.
    """
    modules = "".join(
        f"sys.modules[{module!r}] = types.ModuleType({module!r})\n"
        f"exec(marshal.loads({_compiled(module)!r}), vars(sys.modules[{module!r}]))\n"
        for module in ("code_values", "code_wire")
    )
    return (
        f"import marshal, sys, types\n{modules}exec(marshal.loads({_compiled(f'code_{name}')!r}))"
    )


def _compiled(module: str) -> bytes:
    path = _HERE / f"{module.removeprefix('code_')}.py"
    return marshal.dumps(compile(path.read_text(), path.name, "exec"))


def _whole(source: str, tests: CodeTests) -> str:
    """The program that the guest runs: the code, after the prompt that it continues if any.

    Code that defines the function anew follows the prompt, instead of continuing its last line.
    """
    # By its text: parsing code that nobody has read can crash a Python.
    starts_anew = source.strip() and not source.lstrip("\r\n")[:1].isspace()
    defines = re.search(rf"^def {re.escape(tests.entry_point)}\b", source, re.MULTILINE)
    between = "\n\n" if tests.prefix and starts_anew and defines else ""
    return tests.prefix + between + source
