"""The tester process: it runs the tests and gives the verdict. No code under test runs in it.

The code under test runs in another process, the guest. A name that the tests use and do not define
refers to the guest: its calls pass as data, and results come back as data, so that all comparisons
happen here. An object that is not data stays in the guest; a `Remote` stands for it here.
"""

import builtins
import json
import os
import sys

from code_wire import Wire

_UNARY = ("iter", "next", "len", "hash", "bool", "str", "repr", "neg", "pos", "abs", "enter")
_BINARY = (
    *("lt", "le", "gt", "ge", "add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow"),
    *("and_", "or_", "xor"),
)
_ITEMS = ("getitem", "setitem", "delitem")


class Tester(Wire):
    """The tester's end of the connection."""

    def __init__(self, read: int, write: int):
        super().__init__(read, write)
        self._remotes = {}  # by number: one object of the guest is one object here

    def ask(self, operation, target, positional=(), named=None):
        """The result of an operator or builtin function that the guest applies to its `target`."""
        try:
            return self.request(operation, target, positional, named or {})
        except StopIteration as error:
            if operation == "next":
                raise
            # StopIteration would end a loop of the test, such as that of `all(map(f, values))`.
            raise RuntimeError("the code under test raised StopIteration") from error

    def do(self, operation, target, positional, named):
        """Calls a function that a test passed to the guest. The guest can request nothing else."""
        if operation != "call":
            raise ValueError("no such operation")
        return target(*positional, **named)

    def reference(self, value):
        if isinstance(value, Remote):
            return object.__getattribute__(value, "_at")
        name = getattr(value, "__name__", None)
        if isinstance(name, str) and getattr(builtins, name, None) is value:
            return ["name", name]
        if callable(value):
            return ["tester", self.number(value), name]
        if hasattr(value, "__next__"):
            return ["iterator", self.number(value.__next__), name]
        raise TypeError(f"a test passes a {type(value).__name__}, which is not plain data")

    def object_of(self, owner, number, name=None):
        if owner == "tester":
            return self.kept[number]
        if owner != "guest" or type(number) is not int:
            raise ValueError("no such object")
        return self._remotes.setdefault(number, Remote(self, ["guest", number]))

    def reference_to_error(self, error):
        if isinstance(error, GuestError):
            return self.reference(error.remote)
        return None

    def error_of(self, kind, args, own):
        if own:
            name, *reference = own
            kind = type(name, (GuestError, kind), {"remote": self.object_of(*reference)})
        try:
            return kind(*args)
        except Exception:  # the type does not accept these arguments
            return Exception(*args)


class GuestError(Exception):
    """An exception whose type the code under test defines.

    Here it has the nearest builtin type, and data as arguments. The object itself is in the guest.
    """

    def __getattr__(self, name):
        return getattr(self.remote, name)

    def __str__(self):
        return str(self.remote)


class Remote:
    """Stands for an object in the guest, whose answers about itself cannot be trusted.

    It never takes part in an operation with one of the tester's values: it equals none of them, and
    has no sum or order with them. Otherwise an object whose differences are all 0 would be close to
    every expected result.
    """

    __slots__ = ("_tester", "_at")

    def __init__(self, tester: Tester, at: list):
        object.__setattr__(self, "_tester", tester)
        object.__setattr__(self, "_at", at)

    def __getattr__(self, name):
        if name.startswith("__") and name != "__name__":
            raise AttributeError(name)
        owner, key = self._at
        if owner == "name" and key in sys.stdlib_module_names:
            # A module that the code under test imports: the test gets this process's own.
            return getattr(__import__(key), name)
        return self._tester.ask("getattr", self, [name])

    def __setattr__(self, name, value):
        self._tester.ask("setattr", self, [name, value])

    def __call__(self, *positional, **named):
        return self._tester.ask("call", self, positional, named)

    def __eq__(self, other):
        return isinstance(other, Remote) and self._tester.ask("eq", self, [other]) is True

    def __instancecheck__(self, value):
        return self._tester.ask("isinstance", value, [self]) is True

    def __exit__(self, kind, error, trace):
        """Never suppresses an error of the test, which may be the verdict."""
        try:
            self._tester.ask("exit", self, [error])
        except Exception:
            if error is None:
                raise


def _forwarded(operation):
    return lambda self, *values: self._tester.ask(operation, self, values)


def _binary(operation):
    def ask(self, other):
        if isinstance(other, Remote):
            return self._tester.ask(operation, self, [other])
        return NotImplemented

    return ask


for _name in _UNARY + _ITEMS:
    setattr(Remote, f"__{_name}__", _forwarded(_name))
for _name in _BINARY:
    setattr(Remote, f"__{_name.strip('_')}__", _binary(_name))


class Names(dict):
    """The tests' global names. An undefined one is the guest's; data is read again at each use."""

    def __init__(self, tester: Tester):
        super().__init__(__name__="tests", __builtins__=builtins)
        self._tester = tester

    def __missing__(self, name):
        if hasattr(builtins, name):
            raise KeyError(name)
        if name not in sys.stdlib_module_names:
            value = self._tester.ask("value", Remote(self._tester, ["name", name]))
            if not isinstance(value, Remote):
                return value
        return self.take(name)

    def take(self, name):
        self[name] = Remote(self._tester, ["name", name])
        return self[name]


def _global_names(code):
    inner = (part for part in code.co_consts if hasattr(part, "co_names"))
    return set(code.co_names).union(*map(_global_names, inner))


def _run_tests(tester: Tester, task: dict) -> None:
    """Runs all tests; raises what a failing test raises."""
    names = Names(tester)
    if task["prefix"]:  # the checker may use its helpers
        try:
            exec(compile(task["prefix"], "prefix", "exec"), names)
        except SyntaxError:
            pass  # it ends inside a statement, which the code under test completes
    tests = [compile(test, f"test {n}", "exec") for n, test in enumerate(task["tests"])]
    entry_point = task["entry_point"]
    if entry_point:
        names.take(entry_point)
    else:
        used = set().union(*map(_global_names, tests))
        if all(hasattr(builtins, name) for name in used):
            for name in used:  # the code under test redefines a builtin, such as `sum`
                names.take(name)
    exec(compile(task["setup"], "setup", "exec"), names)
    for test in tests:
        exec(test, names)
    if task["checker"]:
        exec(compile(task["checker"], "checker", "exec"), names)
        names["check"](Remote(tester, ["name", entry_point]))


def main() -> None:
    task = json.loads(sys.stdin.buffer.read())
    verdict = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    tester = Tester(*map(int, sys.argv[1:3]))
    if tester.receive() == ["ready"]:
        _run_tests(tester, task)
        os.write(verdict, b"pass")


main()
