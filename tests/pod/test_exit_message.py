"""Each end that a process can come to, and whether its last words are said then."""

import subprocess
import sys

import pytest

WORDS = 'process 1: it\'s over; "start" $HOME again %s'


def end(how: str) -> str:
    """What a process says that leaves its last words and then does so."""
    program = f"""
import os, signal, sys
from expert_iter.pod import exit_message

exit_message.arm(sys.argv[1])
{how}
"""
    command = [sys.executable, "-c", program, WORDS]
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stderr


@pytest.mark.parametrize(
    "how", ["os.kill(os.getpid(), signal.SIGKILL)", "os.abort()", "os._exit(1)"]
)
def test_said_where_nothing_else_could_be(how):
    assert end(how) == WORDS + "\n"


@pytest.mark.parametrize("how", ["", "sys.exit(3)", "exit_message.disarm(); os.abort()"])
def test_silent_where_the_process_ends_as_it_should_or_has_spoken(how):
    assert end(how) == ""


def test_an_error_of_its_own_is_all_that_is_said():
    assert end("raise ValueError('its own')").endswith("ValueError: its own\n")


def test_the_process_does_not_need_its_shell():
    assert end("exit_message._shell.kill(); exit_message._shell.wait()") == ""
