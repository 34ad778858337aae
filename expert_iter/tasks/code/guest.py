"""The process that runs the code under test, and does what the judge asks of it.

It holds no test and no expected result. Once the code is loaded it can change all that is here;
the judge takes nothing from it but data.
"""

import builtins
import operator
import os
import sys
import types

from code_wire import MUTABLE, Wire

_OPERATIONS = {
    "call": lambda target, *positional, **named: target(*positional, **named),
    "getattr": getattr,
    "setattr": setattr,
    "iter": iter,
    "next": next,
    "len": len,
    "bool": bool,
    "str": str,
    "repr": repr,
}


class Guest(Wire):
    def __init__(self, read: int, write: int, names: dict):
        super().__init__(read, write, {**vars(builtins), "NoneType": type(None)})
        self._globals = names
        self._objects = []  # those that the judge knows by number
        self._numbers = {}

    def of_object(self, value):
        if isinstance(value, _JudgesFunction):
            return ["judge", value.number]
        if id(value) not in self._numbers:
            self._numbers[id(value)] = len(self._objects)
            self._objects.append(value)
        return ["guest", self._numbers[id(value)]]

    def object_of(self, items):
        owner, key = items
        if owner == "judge":
            return _JudgesFunction(self, key)
        if owner == "guest":
            return self._objects[key]
        return self._globals[key] if key in self._globals else getattr(builtins, key)

    def serve(self):
        """Does what is asked until a 'return' or 'raise' answers a call of a judge's function."""
        while True:
            kind, *message = self.receive()
            if kind == "return":
                return self.unpack(message[0])
            if kind == "raise":
                raise RuntimeError(": ".join(message))
            try:
                answer = self._do(*message)
            except Exception as error:
                self.send("raise", *self.pack_error(error))
            else:
                self.send("return", *answer)

    def _do(self, operation, target, positional, named):
        """The result, and what has become of arguments that were changed in place."""
        function = _OPERATIONS.get(operation) or getattr(operator, operation)
        arguments = [self.unpack(value) for value in positional]
        named = {name: self.unpack(value) for name, value in named.items()}
        result = self.pack(function(self.unpack(target), *arguments, **named))
        changed = {}
        for place, (value, before) in enumerate(zip(arguments, positional, strict=True)):
            if isinstance(value, MUTABLE) and (after := self.pack(value)) != before:
                changed[place] = after
        return result, changed


class _JudgesFunction:
    """A function that a test passed as an argument: it runs where the tests are."""

    def __init__(self, guest: Guest, number: int):
        self.guest = guest
        self.number = number

    def __call__(self, *positional):
        self.guest.send("call", self.number, [self.guest.pack(value) for value in positional])
        return self.guest.serve()


def main() -> None:
    read, write = map(int, sys.argv[1:3])
    source = sys.stdin.buffer.read().decode()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    solution = types.ModuleType("solution")
    sys.modules["solution"] = solution
    guest = Guest(read, write, vars(solution))
    exec(compile(source, "solution", "exec", dont_inherit=True), vars(solution))
    guest.send("ready")
    try:
        guest.serve()
    except EOFError:
        pass  # the judge has its verdict


main()
