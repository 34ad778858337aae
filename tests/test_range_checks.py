from types import SimpleNamespace

import pytest

from expert_iter.errors import UserError
from expert_iter.range_checks import Checks

NAN = float("nan")
CHECKS = [  # name, arguments, what it takes, what it refuses, what it says
    ("at_least", (2,), [2, 3], [1, -5], "at least 2"),
    ("between", (2, 3.5), [2, 3, 3.5], [1, 4, NAN], "between 2 and 3.5"),
    ("positive", (), [1, 1e-9], [0, -1, NAN], "positive"),
    ("not_negative", (), [0, 3.5], [-1e-9, NAN], "0 or more"),
    ("share", (), [0, 0.5, 1], [-0.1, 1.1, NAN], "between 0 and 1"),
    ("below_one", (), [0, 0.99], [1, -0.1, NAN], r"in \[0, 1\)"),
]


@pytest.mark.parametrize("name, arguments, good, bad, said", CHECKS)
def test_bounds_and_what_is_said_beyond_them(name, arguments, good, bad, said):
    for value in good:
        getattr(Checks("part", SimpleNamespace(key=value)), name)(*arguments, "key")
    for value in bad:
        with pytest.raises(UserError, match=rf"^part\.key must be {said}, got {value}$"):
            getattr(Checks("part", SimpleNamespace(key=value)), name)(*arguments, "key")


def test_the_first_wrong_key_is_named():
    check = Checks("part", SimpleNamespace(good=1, bad=0, worse=-1))
    with pytest.raises(UserError, match=r"^part\.bad must be positive, got 0$"):
        check.positive("good", "bad", "worse")


def test_choices():
    check = Checks("part", SimpleNamespace(key="thrid"))
    check.one_of("key", "first", "thrid")
    with pytest.raises(UserError, match=r"^part\.key must be 'first' or 'third', got 'thrid'$"):
        check.one_of("key", "first", "third")
