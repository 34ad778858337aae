"""The exit message is printed where a process dies without one, and only there."""

import subprocess
import sys

import pytest

MESSAGE = 'process 1: it\'s over; "start" $HOME again %s'


def end(how: str) -> str:
    """What a process prints that arms its exit message and then runs `how`."""
    program = f"""
import os, signal, sys
from expert_iter.pod import exit_message

exit_message.arm(sys.argv[1])
{how}
"""
    command = [sys.executable, "-c", program, MESSAGE]
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stderr


@pytest.mark.parametrize(
    "how", ["os.kill(os.getpid(), signal.SIGKILL)", "os.abort()", "os._exit(1)"]
)
def test_a_killed_process_prints_its_message(how):
    assert end(how) == MESSAGE + "\n"


@pytest.mark.parametrize("how", ["", "sys.exit(3)", "exit_message.disarm(); os.abort()"])
def test_a_normal_exit_and_a_disarmed_one_print_nothing(how):
    assert end(how) == ""


def test_a_python_error_prints_its_traceback_alone():
    assert end("raise ValueError('its own')").endswith("ValueError: its own\n")


def test_the_process_survives_the_death_of_its_shell():
    assert end("exit_message._shell.kill(); exit_message._shell.wait()") == ""
