"""Verdicts on code: what passes, and what ends a verdict."""

import concurrent.futures
import os
import textwrap
import time
import uuid
from pathlib import Path

import pytest

from expert_iter.errors import UserError
from expert_iter.tasks.code import unit_tests as code_tests
from expert_iter.tasks.code.sandbox import containment
from expert_iter.tasks.code.sandbox.program import Limits
from expert_iter.tasks.code.unit_tests import CodeTests, passes
from tests.tasks.sandboxes import WORKING, left_of, own_memory
from tests.tasks.verdicts import LONG, contained, right


@pytest.fixture(params=WORKING)
def within(request):
    return request.param


@contained
def test_a_verdict(within):
    tests = CodeTests("", ("assert twice(2) == 4", "assert twice('a') == 'aa'"))
    assert passes("def twice(x):\n    return x * 2", tests, LONG, within=within)
    assert not passes("def twice(x):\n    return x + 2", tests, LONG, within=within)
    assert not passes("def thrice(x):\n    return x * 2", tests, LONG, within=within)
    assert not passes("def twice(x)\n    return x * 2", tests, LONG, within=within)
    assert not passes("", tests, LONG, within=within)
    assert not passes("\x00\ud800", tests, LONG, within=within)


PROMPT = '''import math
def helper(x):
    """Used by the checker too."""
    return math.floor(x) + 1

def solve(x):
    """ Twice the helper.
    >>> solve(1)
    4
    """
'''
CHECKER = """
METADATA = {}
def check(candidate):
    for x in range(5):
        assert candidate(x) == 2 * helper(x), "wrong"
    assert candidate(1) == solve(1)
"""


@contained
@pytest.mark.parametrize(
    "completion, passed",
    [
        ("    return 2 * helper(x)\n", True),
        ("\n    y = helper(x)\n    return y + y\n\ndef unused():\n    pass\n", True),
        ("def solve(x):\n    return helper(x) * 2\n", True),
        ("from typing import List\n\ndef solve(x: int):\n    return 2 * x + 2\n", True),
        ("    return 2 * x\n", False),
        ("return 2 * helper(x)\n", False),
        ("def solve(x):\n    return x\n", False),
        ("    pass\n\ndef helper(x):\n    return None\n", False),
        ("    pass\n\ndef check(candidate):\n    pass\n", False),
        ("", False),
    ],
)
def test_a_prompt_that_code_continues(completion, passed):
    tests = CodeTests("", (), "solve", PROMPT, CHECKER)
    assert passes(completion, tests, LONG) is passed


HANGS = {
    "loop": "while True: pass",
    "loop in a call": "def f(x):\n    while True: pass",
    "sleep": "import time\ndef f(x): time.sleep(600)",
    "silence": "import os\nos.closerange(0, 64)\nwhile True: pass",
    "an iterator without end": "def f(x):\n    while True: yield 1",
    "calls back for ever": "def f(g):\n    while True: g(1)",
}


@contained
@pytest.mark.parametrize("name", HANGS)
def test_code_that_hangs_is_wrong_in_its_time(within, name):
    memory = own_memory()
    limits = Limits(seconds=1.5, memory_mb=memory)
    test = {"an iterator without end": "assert list(f(1))"}.get(name, "assert f(lambda x: x)")
    start = time.monotonic()
    assert not passes(HANGS[name], CodeTests("", (test,)), limits, within=within)
    assert time.monotonic() - start < 15
    assert left_of(memory) == []


@contained
def test_output_without_end_is_wrong():
    flood = "import os\nfor _ in range(1 << 14): os.write(1, bytes(1 << 16))\ndef f(x): return 7"
    start = time.monotonic()
    assert not right(flood, "assert f(3) == 7")
    assert time.monotonic() - start < LONG.seconds
    assert right("print('debug ' * 100)\ndef f(x): print(x); return 7", "assert f(3) == 7")


@contained
def test_a_daemon_that_answers_later_is_gone(within):
    memory = own_memory()
    name = f"escape-{uuid.uuid4().hex}"
    code = f"""
        import os
        if os.fork() == 0:
            os.setsid()
            while True:
                open("/tmp/{name}", "w").close()
        def f(x): return 0
    """
    limits = Limits(seconds=30, memory_mb=memory, processes=8)
    tests = CodeTests("", ("assert f(3) == 7",))
    assert not passes(textwrap.dedent(code), tests, limits, within=within)
    assert left_of(memory) == [] and not Path("/tmp", name).exists()


@contained
def test_the_verdict_is_the_testers_not_the_exit_code():
    """A test that ends its own process has not passed; nor have no tests."""
    assert not right("def f(x): return 7", "import os\nos._exit(0)", "assert f(3) == 8")
    assert not right("def f(x): return 7", "raise SystemExit(0)")
    assert not right("def f(x): return 7")
    assert right("def f(x): return 7", "print('fail')\nassert f(3) == 7")


@contained
def test_many_at_once_keep_apart():
    tests = CodeTests("", ("assert f(2) == 5",))

    def verdict(number: int) -> bool:
        return passes(f"def f(x): return x + {number}", tests, LONG)

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        assert list(threads.map(verdict, range(8))) == [number == 3 for number in range(8)]
    before = sorted(os.listdir("/proc/self/fd"))
    verdict(3)
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_without_containment_there_is_no_verdict(monkeypatch):
    monkeypatch.setattr(containment, "available", lambda: None)
    monkeypatch.delenv(containment.ALLOW_UNSANDBOXED, raising=False)
    with pytest.raises(UserError, match="bubblewrap"):
        passes("", CodeTests("", ("assert True",)))
    monkeypatch.setenv(containment.ALLOW_UNSANDBOXED, "1")
    assert right("def f(x): return 7", "assert f(3) == 7")
    assert not right("def f(x): return 7", "assert f(3) == 8")


def test_scripts_are_whole():
    for name in ("tester", "guest"):
        compile(code_tests._script(name), name, "exec")
