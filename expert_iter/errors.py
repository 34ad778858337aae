"""What commands show to people as a single line."""


class UserError(Exception):
    """Something the user can mend: a setting, a file, a flag. Its text is one line that says what
    to do.
    """


class Preempted(Exception):
    """The run was told to leave (SIGTERM), and is saved."""
