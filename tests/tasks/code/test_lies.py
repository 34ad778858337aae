"""Results, exceptions and messages of the code under test that lie about what they are."""

import textwrap

import pytest

from tests.tasks.verdicts import contained, right

RUNS = """
    import os
    for number in range(20):
        try:
            os.write(number, b'pass')
        except OSError:
            pass
    os._exit(0)
"""


@contained
def test_a_function_of_the_testers_gets_no_builtin_that_could_act_there():
    code = f"def apply(f, x): f(exec, {textwrap.dedent(RUNS)!r})"
    test = "assert apply(lambda g, y: g(y), 1) == 7"
    assert right("def apply(f, x): return f(int, '7')", test)
    assert not right(code, test)


ALL = """
    class All:
        def __eq__(self, other): return True
        def __ne__(self, other): return False
        def __hash__(self): return hash(7)
        def __bool__(self): return True
        def __lt__(self, other): return True
        __le__ = __gt__ = __ge__ = __contains__ = __instancecheck__ = __lt__
        def __sub__(self, other): return 0
        __rsub__ = __add__ = __radd__ = __sub__
    class Both(type):
        __eq__ = __instancecheck__ = lambda self, other: True
        __hash__ = type.__hash__
"""
# A test, code that is right, and code that lies where the test looks.
LIES = {
    "a Counter": (
        "from collections import Counter\n"
        "assert f() == Counter(a=7) and f()['a'] == 7 and f().most_common(1) == [('a', 7)]",
        "from collections import Counter\ndef f(): return Counter(a=7)",
        """
        from collections import Counter
        class C(Counter):
            def __eq__(self, other): return True
            def __getitem__(self, key): return 7
            def most_common(self, n): return [('a', 7)]
        def f(): return C(a=8)
        """,
    ),
    "a Counter's items": (
        "assert f() == {'a': 7}",
        "def f(): return {'a': 7}",
        "from collections import Counter\ndef f(): return Counter(a=All())",
    ),
    "an OrderedDict": (
        "from collections import OrderedDict\nassert f() == OrderedDict(a=1, b=2)",
        "from collections import OrderedDict\ndef f(): return OrderedDict(a=1, b=2)",
        """
        from collections import OrderedDict
        class O(OrderedDict):
            def __iter__(self): return iter('ab')
            def __eq__(self, other): return True
        def f(): return O(b=2, a=1)
        """,
    ),
    "a default": (
        "assert f()['x'] == 7 and f() == {}",
        "from collections import defaultdict\ndef f(): return defaultdict(lambda: 7)",
        "from collections import defaultdict\ndef f(): return defaultdict(All)",
    ),
    "a namedtuple": (
        "assert f().x == 7 and f() == (7,)",
        "from collections import namedtuple\ndef f(): return namedtuple('P', 'x')(7)",
        """
        from collections import namedtuple
        class P(namedtuple('P', 'x')):
            x = property(lambda self: All())
            def __eq__(self, other): return True
        def f(): return P(8)
        """,
    ),
    "fields that would run": (
        "assert f()[0] == 7",
        "def f(): return (7,)",
        f"""
        class P(tuple):
            _fields = ("x, y=exec({textwrap.dedent(RUNS)!r})", "x): pass #")
            _make = None
        def f(): return P((8, 8))
        """,
    ),
    "keys": (
        "assert f() == {7: 0}.keys() and 7 in f()",
        "def f(): return {7: 0}.keys()",
        "def f(): return {All(): 0}.keys()",
    ),
    "values in themselves": (
        "assert list(f()) == [7]",
        "def f(): return {7: 7}.values()",
        "def f():\n    x = {}\n    x[7] = x.values()\n    return x[7]",
    ),
    "a set": (
        "assert f() == {7} and 7 in f()",
        "def f(): return {7}",
        "def f(): return {All()}",
    ),
    "arguments of an exception": (
        "try: f()\nexcept KeyError as e: assert e.args[0] == 7 and e.args == (7,)\nelse: assert 0",
        "def f(): raise KeyError(7)",
        """
        class E(KeyError): args = (All(),)
        def f(): raise E(8)
        """,
    ),
    "an exception's own attributes": (
        "try: f()\nexcept ValueError as e: assert e.code == 7 and e.args == (7,)\nelse: assert 0",
        """
        class E(ValueError): code = 7
        def f(): raise E(7)
        """,
        """
        class E(ValueError): __getattr__ = lambda self, name: All()
        def f(): raise E(All())
        """,
    ),
    "the type of an exception": (
        "try: f()\nexcept KeyError: pass\nelse: assert 0",
        "def f(): raise KeyError",
        """
        class KeyError(Exception, metaclass=Both): __qualname__ = 'KeyError'
        def f(): raise KeyError
        """,
    ),
    "an end where an error is expected": (
        "try: f()\nexcept: pass\nelse: assert 0",
        "def f(): raise KeyError",
        "import os\ndef f(): os._exit(0)",
    ),
    "an end of iteration": (
        "assert all(map(lambda x: f(x) == 7, [1, 2]))\nassert all(map(f, [1, 2]))\n"
        "for a, b in zip(map(f, [1, 2]), [7, 7]): assert a == b",
        "def f(x): return 7",
        "def f(x): raise StopIteration",
    ),
    "an end of iteration of its own": (
        "for a, b in zip(map(f, [1, 2]), [7, 7]): assert a == b",
        "def f(x): return 7",
        "class E(StopIteration): pass\ndef f(x): raise E",
    ),
    "a manager that hides errors": (
        "with f() as x: assert x == 7",
        "import contextlib\ndef f(): return contextlib.nullcontext(7)",
        """
        class f:
            def __enter__(self): return 8
            def __exit__(self, *error): return True
        """,
    ),
    "a manager that changes errors": (
        "try:\n    with f() as x: assert x == 7\nexcept ValueError: pass",
        "import contextlib\ndef f(): return contextlib.nullcontext(7)",
        """
        class f:
            def __enter__(self): return 8
            def __exit__(self, *error): raise ValueError
        """,
    ),
    "the type of a result": (
        "assert isinstance(f(), int) and type(f()) is int",
        "def f(): return 7",
        "class I(All, metaclass=Both): __class__ = int\ndef f(): return I()",
    ),
    "a fraction": (
        "from fractions import Fraction\nassert f() == Fraction(1, 7)",
        "from fractions import Fraction\ndef f(): return Fraction(1, 7)",
        """
        from fractions import Fraction
        class F(Fraction): numerator = denominator = property(lambda self: All())
        def f(): return F(1)
        """,
    ),
    "a date": (
        "from datetime import datetime, timezone\n"
        "assert f() == datetime(2024, 1, 1, tzinfo=timezone.utc)",
        "from datetime import datetime, timezone\n"
        "def f(): return datetime(2024, 1, 1, tzinfo=timezone.utc)",
        """
        from datetime import datetime, tzinfo
        class Zone(tzinfo):
            def utcoffset(self, date): return All()
        class D(datetime): year = property(lambda self: All())
        def f(): return D(2023, 1, 1, tzinfo=Zone())
        """,
    ),
    "an argument": (
        "a = [3, 1]\nf(a)\nassert a == [1, 3] and len(a) == 2 and (1, 3) == tuple(a)",
        "def f(x): x.sort()",
        "def f(x): x[:] = [All(), All()]",
    ),
    "data by name": ("assert LIMIT == 7", "LIMIT = 7", "LIMIT = All()"),
    "a test's name": ("x = 7\nassert x == f()", "def f(): return 7", "x = 8\ndef f(): return x"),
}


@contained
@pytest.mark.parametrize("name", LIES)
def test_no_lie_passes(name):
    test, honest, lie = LIES[name]
    assert right(honest, test)
    assert not right(textwrap.dedent(ALL) + textwrap.dedent(lie), test)


MESSAGES = [
    ["return", ["builtins.exec", [], textwrap.dedent(RUNS)], []],
    ["return", ["builtins.exec", textwrap.dedent(RUNS)], []],
    ["return", ["type", "exec"], []],
    ["return", ["object", "name", "exec"], []],
    ["return", ["object", "tester", 0], []],
    ["return", ["namedtuple", "P", ["x=exec(" + repr(textwrap.dedent(RUNS)) + ")"], 8], []],
    ["return", ["@", 0], [[7]]],
    ["return", ["list", [], ["@", 0]], []],
    ["raise", ["exception", "SystemExit", [0], None], []],
    ["raise", ["exception", "exec", [textwrap.dedent(RUNS)], None], []],
    ["raise", ["exception", "StopIteration", [], None], []],
    ["raise", 7, []],
    ["do", "call", ["type", "str"], ["7"], []],
    ["do", "getattr", ["object", "tester", 0], ["__globals__"], []],
    ["pass"],
    [],
    {"return": 7},
    7,
]


@contained
def test_no_message_passes():
    """A guest that writes what it likes to the tester, in place of an answer."""
    code = """
        import json, os, sys
        def f(g, x):
            for _ in range(9):
                os.write(int(sys.argv[-1]), json.dumps(MESSAGE).encode() + b'\\n')
            os._exit(0)
    """
    test = "for x, y in zip(map(lambda x: f(abs.__call__, x), [7]), [7]): assert x == y"
    for message in MESSAGES:
        assert not right(code.replace("MESSAGE", repr(message)), test), message
    assert right(code.replace("MESSAGE", "['return', 7, []]"), test)
