"""The process that runs the tests. Its word is the verdict, and no code under test is in it.

Names that the tests use and nobody here defines stand for those of the code under test, which runs
in a process of its own, the guest: calls pass there as data, and results come back as data. So
comparisons happen here. An object that is no data stays there, and a `Remote` stands for it.
"""

import builtins
import importlib
import json
import os
import sys

from code_wire import MUTABLE, Wire

# What the guest may name: types that only make data. (`eval` would give it this process.)
_PLAIN_TYPES = (
    *(bool, int, float, complex, str, bytes, bytearray, list, tuple, set, frozenset, dict),
    *(object, type(None)),
)
_UNARY = ("iter", "next", "len", "bool", "str", "repr", "neg", "pos", "abs")
_BINARY = (
    *("lt", "le", "gt", "ge", "add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow"),
    *("and_", "or_", "xor"),
)
_ITEMS = ("getitem", "setitem", "delitem")


class Judge(Wire):
    def __init__(self, read: int, write: int):
        super().__init__(read, write, {kind.__name__: kind for kind in _PLAIN_TYPES})
        self._functions = []  # those that were passed to the guest

    def of_object(self, value):
        if isinstance(value, Remote):
            return object.__getattribute__(value, "_at")
        name = getattr(value, "__name__", None)
        if isinstance(name, str) and getattr(builtins, name, None) is value:
            return ["name", name]
        if not callable(value):
            raise TypeError(f"a test passes a {type(value).__name__}, which is no plain data")
        self._functions.append(value)
        return ["judge", len(self._functions) - 1]

    def object_of(self, items):
        owner, number = items
        if owner == "judge":
            return self._functions[number]
        if owner != "guest" or type(number) is not int:
            raise ValueError("no such object")
        return Remote(self, ["guest", number])

    def ask(self, operation, target, positional=(), named=None):
        """What the guest's operator, or builtin function, of this name gives for its `target`."""
        packed = {name: self.pack(value) for name, value in (named or {}).items()}
        positions = [self.pack(value) for value in positional]
        self.send("do", operation, self.pack(target), positions, packed)
        while True:
            kind, *message = self.receive()
            if kind == "call":
                self._call_back(*message)
            elif kind == "return":
                result, changed = message
                for place, value in changed.items():
                    _change(positional[int(place)], self.unpack(value))
                return self.unpack(result)
            else:
                raise _error_of(*message)

    def _call_back(self, number, positional):
        """The guest calls a function that a test passed to it."""
        try:
            result = self._functions[number](*map(self.unpack, positional))
            packed = self.pack(result)
        except Exception as error:
            self.send("raise", *self.pack_error(error))
        else:
            self.send("return", packed)


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
        if name.startswith("__"):
            raise AttributeError(name)
        owner, key = self._at
        if owner == "name" and key in sys.stdlib_module_names:
            # A test that uses a module which the code imports: this process has its own.
            return getattr(importlib.import_module(key), name)
        return self._judge.ask("getattr", self, [name])

    def __setattr__(self, name, value):
        self._judge.ask("setattr", self, [name, value])

    def __call__(self, *positional, **named):
        return self._judge.ask("call", self, positional, named)

    def __eq__(self, other):
        return isinstance(other, Remote) and self._judge.ask("eq", self, [other]) is True

    def __hash__(self):
        return hash(tuple(self._at))


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
    """The tests' global names. What nobody defines is the guest's."""

    def __init__(self, judge: Judge):
        super().__init__(__name__="tests", __builtins__=builtins)
        self._judge = judge

    def __missing__(self, name):
        if hasattr(builtins, name):
            raise KeyError(name)
        return self.take(name)

    def take(self, name):
        self[name] = Remote(self._judge, ["name", name])
        return self[name]


def _change(argument, value):
    """What the guest did in place to its copy of an argument."""
    if type(value) not in MUTABLE or not isinstance(argument, type(value)):
        raise TypeError("an argument has changed its type")
    if isinstance(argument, list | bytearray):
        argument[:] = value
    else:
        argument.clear()
        argument.update(value)


class GuestError(Exception):
    """An exception of a type that the code under test defines."""


def _error_of(name, text):
    kind = getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        try:
            return kind(text)
        except TypeError:  # one that takes more than a text
            pass
    return GuestError(f"{name}: {text}")


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
