"""The verifier of model-written code: does it pass its tests, inside the sandbox?

Each verdict takes two sandboxed processes. The tester runs the tests. The guest runs the code under
test, and answers the tester's calls with plain data over a pipe. Tests and comparisons are never in
a process that the code under test can change. See docs/sandbox.md.
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

from expert_iter.tasks.code.sandbox.containment import pick_containment
from expert_iter.tasks.code.sandbox.output import collect
from expert_iter.tasks.code.sandbox.program import Limits, Program, in_memory

_PASS = b"pass"
_LIMITS = Limits()
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class CodeTests:
    """What a program must do, as trusted Python source.

    Attributes:
      setup: runs before the tests.
      tests: statements, such as `assert f(1) == 2`.
      entry_point: name of the function that the checker checks; '' without a checker.
      prefix: the source that the program continues; '' if it is a program by itself.
      checker: defines `check(candidate)`, which is called with the entry point; or ''.
    """

    setup: str
    tests: tuple[str, ...]
    entry_point: str = ""
    prefix: str = ""
    checker: str = ""


def passes(
    source: str, tests: CodeTests, limits: Limits = _LIMITS, *, within: str | None = None
) -> bool:
    """Whether the code passes all of its tests within the limits.

    False for any other end: an error, an exit, too much time, memory or output. False if there are
    no tests.

    Args:
      source: the code under test.
      tests: what it must do.
      limits: of each of the two processes; `seconds` is for both together.
      within: the containment; by default the best one on this machine.

    Raises:
      UserError: this machine has no containment.
      OSError: this machine cannot start a process.
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

        def start(script: str, data: bytes, read: io.FileIO, write: io.FileIO, **streams) -> None:
            with open(in_memory(data), "rb", 0) as stdin:
                program = Program(
                    _script(script),
                    limits,
                    within,
                    stdin=stdin.fileno(),
                    descriptors=(read.fileno(), write.fileno()),
                    **streams,
                )
            stack.enter_context(program)

        to_guest, from_tester = pipe()
        to_tester, from_guest = pipe()
        verdict, verdict_write = pipe()
        printed, print_write = pipe()
        start("guest", code, to_guest, from_guest, stdout=print_write, stderr=print_write)
        start("tester", task, to_tester, from_tester, stdout=verdict_write)
        # Close our copies, so that a reader sees the end of the file when the other process ends.
        for ours in (to_guest, from_tester, to_tester, from_guest, verdict_write, print_write):
            ours.close()
        pipes = [(verdict.fileno(), len(_PASS)), (printed.fileno(), limits.output_bytes)]
        (written, _), ended = collect(pipes, deadline)
        return ended == "end" and written == _PASS


@functools.cache
def _script(name: str) -> str:
    """The program of the tester or the guest, with the modules that both import.

    It is compiled once, here: both processes run the same interpreter as this one.
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
    """The program that the guest runs: the prefix, then the code.

    Code that defines the entry point again starts on a new line instead of continuing the prefix.
    """
    # A text search, because parsing untrusted code can crash the interpreter.
    starts_anew = source.strip() and not source.lstrip("\r\n")[:1].isspace()
    defines = re.search(rf"^def {re.escape(tests.entry_point)}\b", source, re.MULTILINE)
    between = "\n\n" if tests.prefix and starts_anew and defines else ""
    return tests.prefix + between + source
