"""Errors that end a command with one line instead of a traceback."""


class UserError(Exception):
    """A mistake that the user can fix, in a setting, a file or a flag.

    Its text is one line that names the mistake and the fix.
    """


class Preempted(Exception):
    """The run got SIGTERM, and has saved."""
