"""The line between the judge and the code under test. Both run this text as module `code_wire`."""

import json
import os

from code_values import Exchange


class Wire:
    """One end of the line: it asks the other end to do something, and does what it is asked.

    A subclass says what is done and which objects stay here:
        do(operation, target, positional, named)  the result of what the other end asks for
        reference(value)         what names an object that is no plain data; TypeError if nothing
        object_of(*reference)    the object or, of the other end's, what stands for it
        reference_to_error(error)                 an exception of no builtin type, or None
        error_of(kind, args, own)                 the exception, `own` its reference if any
    """

    def __init__(self, read: int, write: int):
        self._reader = os.fdopen(read, "rb")
        self._write = write
        self.records = {}  # types of namedtuples, by name and fields
        self.kept = []  # the objects that the other end knows by number
        self._numbers = {}

    def send(self, *message) -> None:
        """A message of JSON values."""
        data = memoryview(json.dumps(message).encode() + b"\n")
        while data:
            data = data[os.write(self._write, data) :]

    def receive(self) -> list:
        """The next message. Ends this process if the other end is gone."""
        line = self._reader.readline()
        if not line.endswith(b"\n"):
            os._exit(1)  # an exception could be taken for one of the code's
        return json.loads(line.decode())

    def request(self, operation, target, positional, named):
        """What the other end answers, or raises. What it did to arguments is done to them here."""
        exchange = Exchange(self)
        values = [exchange.pack(value) for value in (target, *positional)]
        named = {name: exchange.pack(value) for name, value in named.items()}
        self.send("do", operation, values, named, exchange.unsent())
        return self.serve(exchange)

    def serve(self, exchange=None):
        """Does what is asked until there is an answer to the call of `exchange`."""
        while True:
            kind, *message = self.receive()
            if kind == "do":
                self._answer(*message)
            elif kind in ("return", "raise"):
                result = exchange.read_answer(*message)
                if kind == "raise":
                    raise result
                return result
            else:
                raise ValueError("no such message")

    def _answer(self, operation, values, named, cells) -> None:
        exchange = Exchange(self)
        try:
            exchange.take(cells)
            target, *positional = map(exchange.unpack, values)
            named = {name: exchange.unpack(value) for name, value in named.items()}
            kind, result = "return", self.do(operation, target, positional, named)
        except Exception as error:
            kind, result = "raise", error
        try:
            message = kind, *exchange.answer(result)
        except Exception as error:  # it is no plain data
            message = "raise", *Exchange(self).answer(error)
        self.send(*message)

    def number(self, value) -> int:
        """The number of an object that stays here."""
        if id(value) not in self._numbers:
            self._numbers[id(value)] = len(self.kept)
            self.kept.append(value)
        return self._numbers[id(value)]
