"""Blocks of Python that share their names, against a plain interpreter's."""

import contextlib
import io
import textwrap
import traceback

import pytest

from expert_iter.tasks.code.sandbox.program import Limits
from expert_iter.tasks.code.session import Stopped, printed
from tests.tasks.sandboxes import WORKING, left_of, own_memory
from tests.tasks.verdicts import contained

pytestmark = contained
LONG = Limits(seconds=30, cpu_seconds=30)


def session(*blocks, limits=LONG, within=None):
    return printed([textwrap.dedent(block) for block in blocks], limits, within=within)


def in_one_process(*blocks):
    """What a plain interpreter prints in the last block, and its error."""
    names = {"__name__": "__main__"}
    for block in blocks:
        out, error = io.StringIO(), ""
        with contextlib.redirect_stdout(out):
            try:
                exec(textwrap.dedent(block), names)
            except Exception:
                error = traceback.format_exc().strip().rpartition("\n")[2]
    return out.getvalue(), error


SESSIONS = [
    ("print(48 + 48 / 2)",),
    ("x = 3", "print(x)", "x += 1\nprint(x)\nprint(x * 'ab')"),
    ("def f(n):\n    return n and n + f(n - 1)\n", "print(f(10))\nf"),
    ("import fractions", "print(fractions.Fraction(3, 4) + 1)"),
    ("print('before')\n1 / 0\nx = 1", "print('x' in globals())"),
    ("x = 1", "print(x)\nx.y\nprint(2)"),
    ("x = 1", "print(x", "print(x)"),
    ("print('ä', '\u2028', '\\x00', sep='')",),
    ("raise ValueError('several', 'words')",),
    ("class A:\n    def __repr__(self):\n        return 'A'\n", "a = A()\nprint([a, a])"),
    ("input()",),
    ("",),
]


@pytest.mark.parametrize("blocks", SESSIONS)
def test_blocks_print_what_they_print_in_one_interpreter(blocks):
    for number in range(1, len(blocks) + 1):
        expected = in_one_process(*blocks[:number])
        if blocks == ("input()",):
            expected = "", "EOFError: EOF when reading a line"  # nobody types
        assert session(*blocks[:number]) == expected


@pytest.mark.parametrize("within", WORKING)
def test_a_block_that_does_not_end_is_stopped(within):
    for block, why, limits in (
        ("while True: pass", "not done within 1 seconds", Limits(seconds=1)),
        ("print('a' * 300_000)", "printed more than 65536 bytes", Limits(output_bytes=1 << 16)),
        ("import os\nos._exit(0)", "the process ended", LONG),
        ("import ctypes\nctypes.string_at(0)", "the process ended", LONG),
        ("import os, signal\nos.kill(os.getpid(), 9)", "the process ended", LONG),
        ("import sys\nsys.stdout = None", "the process ended", LONG),
    ):
        with pytest.raises(Stopped, match=why):
            session("x = 1", block, limits=limits, within=within)


def test_it_is_in_the_sandbox():
    memory = own_memory()
    limits = Limits(seconds=30, memory_mb=memory)
    assert session("print(open('/etc/passwd').read())", limits=limits)[1].startswith("FileNotFound")
    assert session("import socket\nsocket.socket()", limits=limits)[1].startswith("PermissionError")
    assert session("x = bytearray(1 << 40)", limits=limits) == ("", "MemoryError")
    assert session("import sys\nsys.exit(2)", limits=limits) == ("", "SystemExit: 2")
    assert session("import threading\nthreading.Thread(target=print).start()", limits=limits)[1]
    assert not left_of(memory)


def test_sets_and_random_numbers_are_the_same_each_time():
    blocks = "import random", "print({'a', 'b', 'c', 'd'}, hash('a'), random.random())"
    first = session(*blocks)
    assert all(session(*blocks) == first for _ in range(4)) and first[0]
