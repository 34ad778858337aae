"""The guest process: it runs the code under test, and answers the tester's requests.

It holds no test and no expected result. The code under test can change everything in this process,
so the tester accepts nothing but data from it.
"""

import builtins
import operator
import os
import sys
import types

from code_wire import Wire

_BUILTINS = "getattr setattr isinstance iter next len hash bool str repr".split()
_OPERATIONS = {
    **{name: getattr(builtins, name) for name in _BUILTINS},
    "value": lambda target: target,
    "call": lambda target, *positional, **named: target(*positional, **named),
    "enter": lambda manager: type(manager).__enter__(manager),
    "exit": lambda manager, error: type(manager).__exit__(
        manager, None if error is None else type(error), error, None
    ),
}


class Guest(Wire):
    """The guest's end of the connection."""

    def __init__(self, read: int, write: int, names: dict):
        super().__init__(read, write)
        self._globals = names

    def do(self, operation, target, positional, named):
        function = _OPERATIONS.get(operation) or getattr(operator, operation)
        return function(target, *positional, **named)

    def reference(self, value):
        if isinstance(value, _TestFunction):
            return ["tester", value.number, value.__name__]
        return ["guest", self.number(value)]

    def object_of(self, owner, key, name=None):
        if owner == "tester":
            return _TestFunction(self, key, name)
        if owner == "iterator":
            return _iterator(_TestFunction(self, key, name))
        if owner == "guest":
            return self.kept[key]
        return self._globals[key] if key in self._globals else getattr(builtins, key)

    def reference_to_error(self, error):
        return [type(error).__name__, *self.reference(error)]

    def error_of(self, kind, args, own):
        return self.object_of(*own) if own else kind(*args)


class _TestFunction:
    """Stands for a function that a test passed as an argument. Calls run it in the tester."""

    def __init__(self, guest: Guest, number: int, name: str):
        self.guest = guest
        self.number = number
        self.__name__ = self.__qualname__ = name

    def __call__(self, *positional, **named):
        return self.guest.request("call", self, positional, named)


def _iterator(following):
    """Stands for an iterator that a test passed as an argument. The tester has its items."""
    while True:
        try:
            item = following()
        except StopIteration:
            return
        yield item


def main() -> None:
    read, write = map(int, sys.argv[1:3])
    source = sys.stdin.buffer.read().decode()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    solution = types.ModuleType("solution")
    sys.modules["solution"] = solution
    guest = Guest(read, write, vars(solution))
    exec(compile(source, "solution", "exec", dont_inherit=True), vars(solution))
    guest.send("ready")
    guest.serve()


main()
