"""What the tests of verdicts on code share."""

import textwrap

import pytest

from expert_iter.tasks.code.sandbox.program import Limits
from expert_iter.tasks.code.unit_tests import CodeTests, passes
from tests.tasks.sandboxes import WORKING

contained = pytest.mark.skipif(not WORKING, reason="no containment works on this machine")
LONG = Limits(seconds=30, cpu_seconds=30)


def right(source: str, *tests: str, setup: str = "", limits: Limits = LONG, **more) -> bool:
    """The verdict in generous time; all texts may be indented."""
    tests = tuple(textwrap.dedent(test) for test in tests)
    return passes(textwrap.dedent(source), CodeTests(textwrap.dedent(setup), tests, **more), limits)


def right_in_one_process(source: str, test: str) -> bool:
    """The verdict of a plain interpreter, where the test runs in the same module as the code."""
    names = {"__name__": "solution"}
    exec(textwrap.dedent(source), names)
    try:
        exec(textwrap.dedent(test), names)
    except Exception:
        return False
    return True
