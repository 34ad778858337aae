"""The process that runs the tests. Its word is the verdict, and no code under test is in it.

Names that the tests use and nobody here defines stand for those of the code under test, which runs
in a process of its own, the guest: calls pass there as data, and results come back as data. So
comparisons happen here. An object that is no data stays there, and a `Remote` stands for it.
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


class Judge(Wire):
    def __init__(self, read: int, write: int):
        super().__init__(read, write)
        self._remotes = {}  # by number, so that what is one object there is one here

    def ask(self, operation, target, positional=(), named=None):
        """What the guest's operator, or builtin function, of this name gives for its `target`."""
        try:
            return self.request(operation, target, positional, named or {})
        except StopIteration as error:
            if operation == "next":
                raise
            # It would end a loop of the test's, such as that of `all(map(f, values))`.
            raise RuntimeError("the code under test raised StopIteration") from error

    def do(self, operation, target, positional, named):
        """The guest calls a function that a test passed to it; it can ask for nothing else."""
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
            return ["judge", self.number(value), name]
        if hasattr(value, "__next__"):
            return ["iterator", self.number(value.__next__), name]
        raise TypeError(f"a test passes a {type(value).__name__}, which is no plain data")

    def object_of(self, owner, number):
        if owner == "judge":
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
        except Exception:  # one that does not take what is said to be its arguments
            return Exception(*args)


class GuestError(Exception):
    """An exception of a type that the code under test defines.

    It is one of the nearest builtin type, with data for arguments; the rest is in the guest.
    """

    def __getattr__(self, name):
        return getattr(self.remote, name)

    def __str__(self):
        return str(self.remote)


class Remote:
    """An object of the guest's, which can say about itself whatever it likes.

    Nothing of the judge's is compared or reckoned with there: an object equals none of the judge's
    values, and has no sum or order with them. Otherwise one whose differences are all 0 would be
    close to everything.
    """

    __slots__ = ("_judge", "_at")

    def __init__(self, judge: Judge, at: list):
        object.__setattr__(self, "_judge", judge)
        object.__setattr__(self, "_at", at)

    def __getattr__(self, name):
        if name.startswith("__") and name != "__name__":
            raise AttributeError(name)
        owner, key = self._at
        if owner == "name" and key in sys.stdlib_module_names:
            # A test that uses a module which the code imports: this process has its own.
            return getattr(__import__(key), name)
        return self._judge.ask("getattr", self, [name])

    def __setattr__(self, name, value):
        self._judge.ask("setattr", self, [name, value])

    def __call__(self, *positional, **named):
        return self._judge.ask("call", self, positional, named)

    def __eq__(self, other):
        return isinstance(other, Remote) and self._judge.ask("eq", self, [other]) is True

    def __instancecheck__(self, value):
        return self._judge.ask("isinstance", value, [self]) is True

    def __exit__(self, kind, error, trace):
        """An error of the test's stays, whatever the guest makes of it: it may be the verdict."""
        try:
            self._judge.ask("exit", self, [error])
        except Exception:
            if error is None:
                raise


def _forwarded(operation):
    return lambda self, *values: self._judge.ask(operation, self, values)


def _binary(operation):
    def ask(self, other):
        if isinstance(other, Remote):
            return self._judge.ask(operation, self, [other])
        return NotImplemented

    return ask


for _name in _UNARY + _ITEMS:
    setattr(Remote, f"__{_name}__", _forwarded(_name))
for _name in _BINARY:
    setattr(Remote, f"__{_name.strip('_')}__", _binary(_name))


class Names(dict):
    """The tests' global names. What nobody defines is the guest's; data is read at each use."""

    def __init__(self, judge: Judge):
        super().__init__(__name__="tests", __builtins__=builtins)
        self._judge = judge

    def __missing__(self, name):
        if hasattr(builtins, name):
            raise KeyError(name)
        if name not in sys.stdlib_module_names:
            value = self._judge.ask("value", Remote(self._judge, ["name", name]))
            if not isinstance(value, Remote):
                return value
        return self.take(name)

    def take(self, name):
        self[name] = Remote(self._judge, ["name", name])
        return self[name]


def _global_names(code):
    inner = (part for part in code.co_consts if hasattr(part, "co_names"))
    return set(code.co_names).union(*map(_global_names, inner))


def _run_tests(judge: Judge, task: dict) -> None:
    """Raises whatever a test that fails raises."""
    names = Names(judge)
    if task["prefix"]:
        try:
            exec(compile(task["prefix"], "prefix", "exec"), names)  # its helpers, for the checker
        except SyntaxError:
            pass  # it ends within a statement, which the code under test completes
    tests = [compile(test, f"test {n}", "exec") for n, test in enumerate(task["tests"])]
    entry_point = task["entry_point"]
    if entry_point:
        names.take(entry_point)
    else:
        used = set().union(*map(_global_names, tests))
        if all(hasattr(builtins, name) for name in used):
            for name in used:  # the code under test is to define a function such as `sum`
                names.take(name)
    exec(compile(task["setup"], "setup", "exec"), names)
    for test in tests:
        exec(test, names)
    if task["checker"]:
        exec(compile(task["checker"], "checker", "exec"), names)
        names["check"](Remote(judge, ["name", entry_point]))


def main() -> None:
    task = json.loads(sys.stdin.buffer.read())
    verdict = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    judge = Judge(*map(int, sys.argv[1:3]))
    if judge.receive() == ["ready"]:
        _run_tests(judge, task)
        os.write(verdict, b"pass")


main()
