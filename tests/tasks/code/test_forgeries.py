"""Code that would be counted right without being right."""

import dataclasses
import textwrap
import time

import pytest

from expert_iter.tasks.code.unit_tests import CodeTests, passes
from tests.tasks.sandboxes import WORKING
from tests.tasks.verdicts import LONG, contained, right


@pytest.fixture(params=WORKING)
def within(request):
    return request.param


FORGERIES = {
    "exit": "import sys\nsys.exit(0)",
    "exit in a call": "import sys\ndef f(x): sys.exit(0)",
    "exit at once": "import os\nos._exit(0)",
    "exit at once in a call": "import os\ndef f(x): os._exit(0)",
    "exit by an exception": "def f(x): raise SystemExit(0)",
    "killed": "import os\ndef f(x): os.kill(os.getpid(), 9)",
    "prints": "import os\ndef f(x):\n    print('pass', flush=True)\n    os._exit(0)",
    "writes to all descriptors": """
        import os
        for number in range(256):
            for text in (b'pass', b'["return", 7, []]\\n'):
                try: os.write(number, text)
                except OSError: pass
        os._exit(0)
    """,
    "forged messages": """
        import os, sys
        end = sys.argv[-1]
        os.write(int(end), b'["ready"]\\n' + b'["return", null, []]\\n' * 100)
        os._exit(0)
    """,
    "equals everything": """
        class All:
            def __eq__(self, other): return True
            def __ne__(self, other): return False
            def __hash__(self): return hash(7)
            def __bool__(self): return True
        def f(x): return All()
    """,
    "differs from nothing": """
        class Close:
            def __sub__(self, other): return 0
            __rsub__ = __sub__
            def __le__(self, other): return True
            __ge__ = __contains__ = __and__ = __le__
        def f(x): return Close()
    """,
    "an integer that equals everything": """
        class All(int):
            def __eq__(self, other): return True
        def f(x): return All(8)
    """,
    "a class that equals everything": """
        class Meta(type):
            def __eq__(self, other): return True
        class f(metaclass=Meta):
            def __init__(self, x): pass
    """,
    "replaced assertions": """
        import builtins
        class Never(BaseException): pass
        builtins.AssertionError = Never
        builtins.__build_class__ = builtins.isinstance = lambda *a: True
        builtins.exec = builtins.compile = lambda *a, **k: None
        def f(x): return 0
    """,
    "patched operators": """
        import operator, json, builtins
        operator.eq = lambda a, b: True
        json.loads = json.dumps = lambda *a, **k: '["return", 7, []]'
        def f(x): return 0
    """,
    "patched guest": """
        import gc, types
        for thing in gc.get_objects():
            if isinstance(thing, types.FunctionType) and thing.__name__ != "f":
                try: thing.__code__ = (lambda *a, **k: True).__code__
                except ValueError: pass
        def f(x): return 0
    """,
    "atexit": """
        import atexit, os
        atexit.register(os._exit, 0)
        atexit.register(print, "pass")
        def f(x): return 0
    """,
    "trace functions": """
        import sys
        sys.settrace(lambda *a: None)
        sys.excepthook = lambda *a: None
        def f(x): raise AssertionError
    """,
    "looks for the tests": """
        import gc, os, re, sys
        def f(x):
            texts, frame = [], sys._getframe()
            while frame:
                texts.append(repr(frame.f_locals) + repr(frame.f_globals))
                frame = frame.f_back
            texts += [repr(t) for t in gc.get_objects() if isinstance(t, (str, dict, list, tuple))]
            for directory, _, names in os.walk("/tmp"):
                texts += [open(os.path.join(directory, name)).read() for name in names]
            found = re.search(r"f\\(%r\\) == (\\d+)" % x, " ".join(texts))
            return int(found[1]) if found else 0
    """,
    "itself": "def f(x): return f",
    "deep data": "def f(x):\n    y = 7\n    for _ in range(10**5): y = [y]\n    return y",
    "endless data": "def f(x):\n    y = []\n    y.append(y)\n    return y",
    "fork": "import os\nos.fork()\ndef f(x): return 0",
    "memory": "def f(x):\n    y = []\n    while True: y.append(bytearray(1 << 20))",
    "big result": "def f(x): return 'y' * (1 << 28)",
    "disc": "def f(x):\n    a = open('/tmp/a', 'wb')\n    while True: a.write(b'y' * 4096)",
    "recursion": "import sys\nsys.setrecursionlimit(1 << 30)\ndef f(x): return f(x)",
    "crash": "import ctypes\ndef f(x): return ctypes.string_at(0)",
    "socket": "import socket\ndef f(x): socket.create_connection(('127.0.0.1', 80), 1)",
    "kills around": "import os\nfor n in (os.getppid(), 1, -1):\n    try: os.kill(n, 9)\n"
    "    except OSError: pass\ndef f(x): return 0",
}


@contained
@pytest.mark.parametrize("name", FORGERIES)
def test_no_forgery_passes(within, name):
    """They end by themselves: none needs the time limit to be counted wrong."""
    start = time.monotonic()
    tests = CodeTests("", ("assert f(3) == 7", "assert f(4) == 9"))
    limits = dataclasses.replace(LONG, memory_mb=160)
    assert not passes(textwrap.dedent(FORGERIES[name]), tests, limits, within=within)
    assert time.monotonic() - start < LONG.seconds


@contained
@pytest.mark.parametrize(
    "test", ["abs(f(3) - 7) < 1e-6", "abs(7 - f(3)) < 1e-6", "f(3) <= 7", "7 >= f(3)", "7 in f(3)"]
)
def test_no_forgery_is_close_to_everything(test):
    assert right("def f(x): return 7 if x else [7]", "assert " + test.replace("in f(3)", "in f(0)"))
    assert not right(FORGERIES["differs from nothing"], f"assert {test}")
