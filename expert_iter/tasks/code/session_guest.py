"""Runs the blocks of a session in the sandbox, and shows what the last one prints."""

import json
import os
import sys
import traceback

_ENDED, _ERROR = 77, "\0"  # see session.py


def _error_of(block, names):
    """Runs a block; returns the last line of its traceback, or ''."""
    try:
        exec(compile(block, "block", "exec", dont_inherit=True), names)
    except BaseException as error:  # SystemExit too: the session goes on
        lines = traceback.format_exception_only(error)
        return lines[-1].strip().partition("\n")[0]
    return ""


def main():
    *before, last = json.loads(sys.stdin.buffer.read())
    shown, nowhere = os.dup(1), os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    if any("random" in block for block in (*before, last)):
        import random  # takes milliseconds

        random.seed(0)
    names = {"__name__": "__main__"}
    for block in before:
        _error_of(block, names)
    sys.stdout.flush()
    os.dup2(shown, 1)
    error = _error_of(last, names)
    sys.stdout.flush()
    os.write(1, (_ERROR + error).encode(errors="replace"))  # a block may have another stdout
    os._exit(_ENDED)


main()
