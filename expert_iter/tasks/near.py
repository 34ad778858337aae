"""Suggests names for a mistyped one."""

import difflib
from collections.abc import Iterable


def near(name: str, known: Iterable[str]) -> str:
    """The end of an error line: the names that look like `name`, or all if none does."""
    known = list(known)
    matches = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or known
    return f": did you mean {' or '.join(matches)}?"
