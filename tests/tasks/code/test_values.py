"""Values that pass between tests and the code under test: the verdict is that of one process."""

import pytest

from expert_iter.tasks.code.values import Exchange
from tests.tasks.verdicts import contained, right, right_in_one_process

VALUES = [
    *("None", "True", "0", "-7", "10**40", "-(10**4000)", "2**63", "-(2**63)", "1.5", "-0.0"),
    *(
        "float('inf')",
        "2j",
        "complex(float('inf'), -0.0)",
        "b'\\xff'",
        "'\\ud800\\n'",
        "(1,)",
        "()",
    ),
    *("[]", "[(1, [2])]", "{1, 2}", "set()", "frozenset({(1,)})", "{(1, 2): [3]}", "{'': {}}"),
    *("bytearray(b'a')", "range(3)", "slice(1, None)", "int", "type(None)", "'x' * 300000"),
    *("deque([1], 2)", "Counter('aab')", "OrderedDict(b=1, a=2)", "defaultdict(list, a=[1])"),
    *("ChainMap({1: 2}, {3: [4]})", "array('d', [1.5])", "{1: 2}.keys()", "{1: [2]}.items()"),
    *("Fraction(1, 3)", "Decimal('1.10')", "date(2024, 2, 29)", "time(1, 2, 3, 4)"),
    *("datetime(2024, 2, 29, 1, tzinfo=timezone(timedelta(hours=1), 'x'))", "timedelta(1, 2, 3)"),
    *("datetime(2024, 2, 29, tzinfo=timezone.utc)", "[datetime(1, 1, 1)]"),
]
IMPORTS = """
from array import array
from collections import ChainMap, Counter, OrderedDict, defaultdict, deque, namedtuple
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
"""


@contained
def test_plain_data_of_every_kind_goes_there_and_back_with_its_type():
    same = "x, y = {0}, f({0})\nassert x == y and type(x) is type(y) and repr(x) == repr(y)"
    tests = [same.format(value) for value in VALUES]
    tests += ["assert f(float('nan')) != f(float('nan'))", "assert f(f) is not None"]
    tests += ["assert type(f([True, 1, 1.0])[0]) is bool and list(f({1: [2]}.values())) == [[2]]"]
    assert right("def f(x): return x", *tests, setup=IMPORTS)
    for value in ("1", "'1'", "(1,)", "[2]", "None", "{1: 2}"):
        assert not right("def f(x): return [1]", f"assert f(0) == {value}")


CASES = {
    # Kindred types keep what their own kind can do.
    "Counter": (
        "from collections import Counter\ndef f(x): return Counter(x)",
        "assert f('aab') == {'a': 2, 'b': 1} and f('aab').most_common(1) == [('a', 2)]\n"
        "assert f('a')['z'] == 0 and f('aab') - f('ab') == f('a') and f('') == Counter()",
    ),
    "OrderedDict and dict": (
        "from collections import OrderedDict\ndef f(x): return OrderedDict(reversed(x.items()))",
        "assert f({1: 2, 3: 4}) == {1: 2, 3: 4} and list(f({1: 2, 3: 4})) == [3, 1]",
    ),
    "OrderedDict in another order": (
        "from collections import OrderedDict\ndef f(x): return OrderedDict(reversed(x.items()))",
        "assert f({1: 2, 3: 4}) == OrderedDict({1: 2, 3: 4})",
    ),
    "OrderedDict in an order of its own": (
        "def f(x): x.move_to_end('a'); return x",
        "x = OrderedDict(a=1, b=2)\nassert f(x) == OrderedDict(b=2, a=1) and list(x) == ['b', 'a']",
    ),
    "defaultdict": (
        "from collections import defaultdict\n"
        "def f(): return defaultdict(int, a=1), defaultdict(lambda: [7])",
        "a, b = f()\nassert a == {'a': 1} and a['z'] == 0 and b == {} and b['z'] == [7]",
    ),
    "namedtuple": (
        "from collections import namedtuple\nP = namedtuple('P', 'x y')\n"
        "def f(x): return [P(x, y=2)]",
        "p = f(1)[0]\nassert p == (1, 2) == P(1, 2) and p.x == 1\n"
        "assert p._asdict() == {'x': 1, 'y': 2}\n"
        "assert p._replace(y=3) == (1, 3) and type(p).__name__ == 'P' and P._fields == ('x', 'y')\n"
        "assert isinstance(p, P) and not isinstance((1, 2), P) and repr(p) == 'P(x=1, y=2)'",
    ),
    "NamedTuple as an argument": (
        "from typing import NamedTuple\nclass P(NamedTuple):\n    x: int\n    y: int = 5\n"
        "    def total(self): return self.x + self.y\n"
        "def f(p): return isinstance(p, P) and p.total()",
        "assert f(P(1)) == 6 and f(P(1)._replace(y=2)) == 3",
    ),
    "a test's namedtuple": (
        "def f(p): return p._replace(x=p.x + 1)",
        "Q = namedtuple('Q', 'x')\nassert f(Q(1)) == Q(2) and type(f(Q(1))) is Q",
    ),
    "fields without names": (
        "from collections import namedtuple\nP = namedtuple('P', 'class x', rename=True)\n"
        "def f(): return P(1, 2)",
        "assert f().x == 2 and f()._0 == 1",
    ),
    "views of a dict": (
        "def f(d): return d.keys(), d.values(), d.items()",
        "d = {1: 2, 3: 4}\nkeys, values, items = f(d)\n"
        "assert keys == d.keys() and items == d.items() and list(values) == [2, 4] != values\n"
        "assert keys & {1} == {1} and 3 in keys and len(values) == 2 and list(keys) == [1, 3]\n"
        "assert keys == {1, 3} and keys != [1, 3] and list(f({5: []})[2]) == [(5, [])]",
    ),
    "views of an OrderedDict": (
        "from collections import OrderedDict\ndef f(d): return OrderedDict(d).keys()",
        "assert f({1: 2}) == {1} and list(f({1: 2})) == [1]",
    ),
    "enumerations of data": (
        "import enum\nclass A(str, enum.Enum): X = 'x'\nclass B(enum.IntEnum): Y = 3\n"
        "def f(): return A.X, B.Y",
        "assert f() == ('x', 3)",
    ),
    "subclasses that say something else": (
        "class A(list):\n    def __iter__(self): return iter('no')\n"
        "class B(dict):\n    def items(self): return 'no'\n"
        "class C(str):\n    def __str__(self): return 'no'\n"
        "def f(): return A([1]), B(a=1), C('c')",
        "assert f() == ([1], {'a': 1}, 'c')",
    ),
    # Names of data.
    "data by name": (
        "LIMIT, SEEN = 3.5, []\ndef f(x): SEEN.append(x)",
        "assert LIMIT == 3.5 and SEEN == []\nf(1)\nassert SEEN == [1]\n"
        "def seen(): return SEEN\nf(2)\nassert seen() == [1, 2]",
    ),
    "builtins as results": (
        "def f(name): return {'max': max, 'int': int}[name]",
        "assert f('max')(1, 2) == 2 and f('int')('3') == 3 and f('int') is int",
    ),
}


@contained
@pytest.mark.parametrize("name", CASES)
def test_values_of_kindred_types(name):
    code, test = CASES[name]
    passed = name != "OrderedDict in another order"
    assert right(code, test, setup=IMPORTS) == passed
    assert right_in_one_process(code, IMPORTS + test) == passed


CHANGES = {
    "list": ("def f(x): x.clear()", "a = [1]\nf(a)\nassert a == []"),
    "dict": ("def f(x): x['k'] = [1]", "a = {'j': 0}\nf(a)\nassert a == {'j': 0, 'k': [1]}"),
    "set": ("def f(x): x |= {3}", "a = {1}\nf(a)\nassert a == {1, 3}"),
    "bytearray": ("def f(x): x += b'b'", "a = bytearray(b'a')\nf(a)\nassert a == b'ab'"),
    "deque": (
        "def f(x): x.appendleft(0)",
        "a = deque([1, 2], 2)\nf(a)\nassert list(a) == [0, 1] and a.maxlen == 2",
    ),
    "array": (
        "def f(x): x.append(2); x[0] = 9",
        "a = array('i', [1])\nf(a)\nassert a.tolist() == [9, 2]",
    ),
    "Counter": ("def f(x): x.update('ab')", "a = Counter('a')\nf(a)\nassert a == Counter('aab')"),
    "defaultdict": (
        "def f(x): x['z'].append(1)",
        "a = defaultdict(list)\nf(a)\nassert a == {'z': [1]} and a['y'] == []",
    ),
    "ChainMap": ("def f(x): x[1] = 2", "a = {}\nf(ChainMap(a, {1: 3}))\nassert a == {1: 2}"),
    "by keyword": ("def f(*, x): x.append(1)", "a = []\nf(x=a)\nassert a == [1]"),
    "inside a tuple": ("def f(x): x[0][0].append(1)", "a = []\nf(((a,),))\nassert a == [1]"),
    "inside a namedtuple": (
        "def f(p): p.x.append(1)",
        "P = namedtuple('P', 'x')\np = P([])\nf(p)\nassert p.x == [1]",
    ),
    "inside a list": (
        "def f(x):\n    for row in x: row.append(0)",
        "a = [[1], [2]]\nrow = a[0]\nf(a)\nassert a == [[1, 0], [2, 0]] and a[0] is row",
    ),
    "a set inside a dict": (
        "def f(x): x['s'].add(2)",
        "s = {1}\na = {'s': s}\nf(a)\nassert s == {1, 2} and a['s'] is s",
    ),
    "rows swapped": (
        "def f(x): x.reverse()",
        "a = [[1], [2]]\nfirst, last = a\nf(a)\nassert a[0] is last and a[1] is first",
    ),
    "passed twice": (
        "def f(x, y): x.append(1); return x is y, len(y)",
        "a = []\nassert f(a, a) == (True, 1) and f(a, [1]) == (False, 1)",
    ),
    "returned": ("def f(x): x.sort(); return x", "a = [2, 1]\nassert f(a) is a and a == [1, 2]"),
    "returned in part": ("def f(x): return [x[0]]", "a = [[1], 2]\nassert f(a)[0] is a[0]"),
    "a copy returned": ("def f(x): return list(x)", "a = [1]\nassert f(a) == a and f(a) is not a"),
    "one row three times": (
        "def f(): return [[0]] * 3",
        "a = f()\na[0].append(1)\nassert a == [[0, 1]] * 3",
    ),
    "in itself": (
        "def f(x): x.append(2); return x is x[0]",
        "a = []\na.append(a)\nassert f(a) and a[1] == 2",
    ),
    "nested deeply": (
        "def f(n):\n    x = n\n    for _ in range(500): x = [x]\n    return x",
        "x = f(7)\nfor _ in range(500): x = x[0]\nassert x == 7",
    ),
    "to an equal of another type": (
        "def f(x): x[0], x[1], x[2] = True, 0.0, -0.0",
        "a = [1, 0, 0.0]\nf(a)\nassert str(a) == '[True, 0.0, -0.0]'",
    ),
    "then an error": (
        "def f(x): x.append(1); raise ValueError",
        "a = []\ntry: f(a)\nexcept ValueError: pass\nassert a == [1]",
    ),
    "by a function of the test": (
        "def f(g):\n    x = []\n    g(x)\n    return x",
        "assert f(lambda x: x.append(1)) == [1]",
    ),
    "not changed": ("def f(x): x = []", "a = [1]\nf(a)\nassert a == [1]"),
}


@contained
@pytest.mark.parametrize("name", CHANGES)
def test_arguments_that_are_changed_in_place(name):
    code, test = CHANGES[name]
    assert right_in_one_process(code, IMPORTS + test)
    assert right(code, test, setup=IMPORTS)


@contained
def test_an_argument_that_stays_as_it_was_is_not_counted_as_changed():
    assert not right("def f(x): x = []", "a = [1]\nf(a)\nassert a == []")
    assert not right("def f(x): return list(x)", "a = [1]\nassert f(a) is a")


class NoObjects:
    """A wire for plain data alone."""

    records = {}


@pytest.mark.parametrize(
    "packed",
    [
        *(["os.system", "true"], ["posix.system", "true"], ["builtins.eval", "1"], ["eval", "1"]),
        *(
            ["builtins.exec", [], "1"],
            ["collections.deque", [[], -1]],
            ["list"],
            ["set", [], ["list"]],
        ),
        *(["subprocess.Popen", "true"], ["type", "eval"], ["type", ["int"]], ["@", 5], ["@", "0"]),
        *(["exception", "SystemExit", [], None], ["exception", "eval", ["1"], None]),
        *(["exception", "KeyboardInterrupt", [], None], ["int", "print()"], [], [[]], ["str", "a"]),
        *(["namedtuple", "P(", ["x"], 1], ["namedtuple", "P", ["x", "y"], 1], ["tuple", ["@", 0]]),
        *(["namedtuple", "P", [["x"]], 1], ["fractions.Fraction", "a", 1], ["list", 1], ["bytes"]),
    ],
)
def test_only_values_of_the_listed_kinds_are_read(packed):
    with pytest.raises((ValueError, TypeError, LookupError, AttributeError)):
        Exchange(NoObjects()).unpack(packed)


def test_fields_that_are_no_names_are_renamed_and_not_run():
    hostile = "x=print('run')"
    point = Exchange(NoObjects()).unpack(["namedtuple", "P", [hostile, "y", "y", "_z"], 1, 2, 3, 4])
    assert point._fields == ("_0", "y", "_2", "_3") and point == (1, 2, 3, 4)
