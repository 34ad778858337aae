"""What is no plain data: objects of the code's, functions, iterators and exceptions."""

import pytest

from tests.tasks.verdicts import contained, right, right_in_one_process

CLASSES = """
    import enum
    from dataclasses import dataclass
    class Node:
        def __init__(self, value):
            self.value, self.next = value, None
        def __add__(self, other):
            return Node(self.value + other.value)
        def __len__(self):
            return 1 + (len(self.next) if self.next else 0)
        def __eq__(self, other):
            return self.value == other.value
    class Leaf(Node):
        pass
    @dataclass(frozen=True)
    class Point:
        x: int
    class Colour(enum.Enum):
        RED = 1
        BLUE = 2
    ROOT = Node(0)
    def total(node):
        return node.value + (total(node.next) if node.next else 0)
    def evens():
        number = 0
        while True:
            yield number
            number += 2
    LIMIT = 3
    def same(value):
        return value
    def twice(items):
        return (2 * item for item in items)
    def pairs(items):
        return zip(items, map(str, items))
    def first(items):
        return next(items)
"""
OBJECTS = [
    "head = Node(1)\nhead.next = Node(2)\nassert total(head) == 3 and len(head) == 2",
    "assert (Node(1) + Node(2)).value == 3 and Node(1).next is None",
    "assert Node(1) == Node(1) and Node(1) != Node(2) and [Node(1)] == [Node(1)]",
    "a = Node(1)\nassert same(a) is a and same([a])[0] is a and same(a) is not Node(1)",
    "assert Point(1) == Point(1) != Point(2) and {Point(1)} == {same(Point(1))}",
    "assert {Point(1): 2}[Point(1)] == 2 and Point(1) in [Point(1)] and Point(1) != 1",
    "assert isinstance(Leaf(1), Node) and not isinstance(Node(1), Leaf)",
    "assert not isinstance(3, Node) and isinstance(Point(1), (int, Point))",
    "assert same(Colour.RED) is Colour.RED is not Colour.BLUE and Colour(1) == Colour.RED",
    "assert Colour.BLUE.name == 'BLUE' and Colour.BLUE.value == 2 and same(LIMIT) == 3 == LIMIT",
    "assert ROOT.value == 0 and same(ROOT) == ROOT",
    "from itertools import islice\nassert list(islice(evens(), 3)) == [0, 2, 4]",
    "assert [a for a, b in zip(evens(), 'ab')] == [0, 2]",
    "items = twice([1, 2])\nassert iter(items) is items and next(items) == 2\n"
    "assert list(items) == [4] and next(items, None) is None and list(items) == []",
    "assert list(pairs([1, 2])) == [(1, '1'), (2, '2')] and dict(pairs([3])) == {3: '3'}",
    "assert list(twice(iter([1, 2]))) == [2, 4] and first(x for x in [5]) == 5",
    "assert list(twice(map(int, '12'))) == [2, 4] and list(pairs({1: 2}.keys())) == [(1, '1')]",
    "items = iter([1, 2, 3])\nassert first(items) == 1 and list(items) == [2, 3]",
]


@contained
def test_objects_of_the_codes_own_classes_and_iterators():
    for test in OBJECTS:
        assert right_in_one_process(CLASSES, test)
    assert right(CLASSES, *OBJECTS)
    assert not right(CLASSES, "head = Node(1)\nassert total(head) == 4")
    assert not right(CLASSES, "assert same(Node(1)) is Node(1)")


FUNCTIONS = """
    import functools
    def apply(f, *values, **named): return f(*values, **named)
    def adder(n): return lambda x: x + n
    def counted(f):
        @functools.wraps(f)
        def inner(*values, **named):
            inner.calls += 1
            return f(*values, **named)
        inner.calls = 0
        return inner
    def caught(f):
        try:
            f()
        except KeyError as error:
            return error.args
"""
CALLS = [
    "assert apply(lambda x: x + 1, 2) == 3 and apply(len, 'abc') == 3 and apply(int, '12') == 12",
    "assert adder(2)(3) == 5 and apply(adder(1), 1) == 2 and apply([4].index, 4) == 0",
    "assert apply(lambda x, *, y=0: x - y, 5, y=3) == 2 and apply(dict, a=1) == {'a': 1}",
    "def g(x, y=1): return x * y\nassert apply(g, y=2, x=3) == 6 and apply(lambda: g) is g",
    "@counted\ndef g(x, y=1): return x * y\nassert g(2, y=3) == 6 and g(2) == 2\n"
    "assert g.calls == 2 and g.__name__ == 'g'",
    "def g(): raise KeyError('a', 1)\nassert caught(g) == ('a', 1) and caught({}.clear) is None",
]


@contained
def test_functions_as_arguments_and_results():
    for test in CALLS:
        assert right_in_one_process(FUNCTIONS, test)
    assert right(FUNCTIONS, *CALLS)
    assert not right(FUNCTIONS, "assert apply(lambda x: x + 1, 2) == 4")
    assert not right(FUNCTIONS, "assert apply(lambda x: 1 / x, 0) == 0")


RAISING = """
    class Short(ValueError):
        def __init__(self, missing):
            super().__init__("too short", missing)
            self.missing = missing
    class Odd(LookupError):
        def __str__(self): return "odd"
    class Own(Exception): pass
    def f(name):
        if name == "own within":
            try: f("own")
            except Own: return "caught"
        raise {
            "key": KeyError("a"), "keys": KeyError(("a", [1])), "zero": ZeroDivisionError("zero"),
            "short": Short(3), "odd": Odd(1), "own": Own("why", 2), "none": ValueError(),
            "file": FileNotFoundError(2, "no"),
            "coding": UnicodeEncodeError("ascii", "x", 0, 1, "y"),
            "group": ExceptionGroup("g", [KeyError("a")]),
        }[name]
    def call(g):
        try: g()
        except Own as error: return error.args
    def made(): return OverflowError("big", 1)
    def raises(error): raise error
"""
CAUGHT = """
    try:
        f({name!r})
    except {kind} as error:
        assert {check}
    else:
        assert False
"""
ERRORS = [
    ("key", "KeyError", "error.args == ('a',) and error.args[0] == 'a' and str(error) == \"'a'\""),
    ("keys", "LookupError", "error.args == (('a', [1]),)"),
    ("zero", "ZeroDivisionError", "'zero' in str(error)"),
    ("short", "ValueError", "error.args == ('too short', 3) and error.missing == 3"),
    ("short", "Exception", "type(error).__name__ == 'Short' and not hasattr(error, 'other')"),
    ("odd", "LookupError", "str(error) == 'odd' and error.args == (1,)"),
    ("own", "Exception", "str(error) == \"('why', 2)\" and not isinstance(error, ValueError)"),
    ("file", "OSError", "error.errno == 2 and isinstance(error, FileNotFoundError)"),
    ("none", "(TypeError, ValueError)", "error.args == () and type(error) is ValueError"),
    ("coding", "UnicodeError", "error.reason == 'y'"),
    ("group", "ExceptionGroup", "error.exceptions[0].args == ('a',)"),
]
PASSED_ON = [
    "assert f('own within') == 'caught' and call(lambda: f('own')) == ('why', 2)",
    "assert isinstance(made(), OverflowError) and made().args == ('big', 1)",
    "class Mine(ValueError): pass\n"
    "try: raises(Mine(3))\nexcept ValueError as error: assert error.args == (3,)",
]


@contained
def test_exceptions_carry_what_they_were_made_from():
    tests = [CAUGHT.format(name=name, kind=kind, check=check) for name, kind, check in ERRORS]
    for test in tests + PASSED_ON:
        assert right_in_one_process(RAISING, test), test
    assert right(RAISING, *tests, *PASSED_ON)


@contained
@pytest.mark.parametrize(
    "source",
    [
        *("def f(x): return x", "def f(x): raise ValueError('a')", "def f(x): raise KeyError('b')"),
        *("def f(x): raise KeyboardInterrupt('a')", "class f(KeyError): pass"),
        "class E(BaseException): pass\ndef f(x): raise E('a')",
    ],
)
def test_another_exception_than_expected_is_wrong(source):
    test = CAUGHT.format(name="", kind="KeyError", check="error.args == ('a',)")
    assert not right(source, test)


MANAGERS = """
    import contextlib
    LOG = []
    @contextlib.contextmanager
    def opened(name):
        LOG.append(name)
        try:
            yield [name]
        except KeyError:
            LOG.append("error")
            raise
        finally:
            LOG.append("closed")
    class Timer:
        def __enter__(self): return self
        def __exit__(self, kind, error, trace): self.kind = kind and kind.__name__
"""
WITHIN = [
    "with opened('a') as names: assert names == ['a']\nassert LOG == ['a', 'closed']",
    "try:\n    with opened('b'): raise KeyError\nexcept KeyError: pass\n"
    "assert LOG[2:] == ['b', 'error', 'closed']",
    "with Timer() as timer: pass\nassert timer.kind is None\n"
    "try:\n    with timer: 1 / 0\nexcept ZeroDivisionError: pass\n"
    "assert timer.kind == 'ZeroDivisionError'",
]


@contained
def test_context_managers():
    assert right_in_one_process(MANAGERS, "\n".join(WITHIN))
    assert right(MANAGERS, *WITHIN)


@contained
def test_names_that_are_builtins_and_modules():
    assert right("def sum(a, b): return a * b", "assert sum(3, 4) == 12")
    assert right("import sys\ndef size(x): return sys.getsizeof(x)",
                 "assert size((1, 2)) == sys.getsizeof((1, 2))")  # fmt: skip
    # The code's own `sys`, `len` or `set` has no say in what its tests mean by these names.
    assert not right("class sys: getsizeof = lambda x: 1\ndef size(x): return 1",
                     "assert size((1, 2)) == sys.getsizeof((1, 2))")  # fmt: skip
    assert not right("def f(x): return []\ndef len(x): return 3", "assert len(f(1)) == 3")
