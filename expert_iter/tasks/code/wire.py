"""The connection between tester and guest. Both load this file as the module `code_wire`."""

import json
import os

from code_values import Exchange


class Wire:
    """One end of the connection: it sends requests to the other end, and answers the other's.

    A subclass defines:
        do(operation, target, positional, named)  the result of a request
        reference(value)           names an object that is not plain data; TypeError if it must not
        object_of(*reference)      the object, or what stands for one of the other end
        reference_to_error(error)  names an exception whose type is not builtin; None for others
        error_of(kind, args, own)  the exception; `own` is its reference or None
    """

    def __init__(self, read: int, write: int):
        """Communicates over two file descriptors."""
        self._reader = os.fdopen(read, "rb")
        self._write = write
        self.records = {}  # types of namedtuples, by their name and fields
        self.kept = []  # objects that the other end refers to by number
        self._numbers = {}

    def send(self, *message) -> None:
        """Sends a message of JSON values."""
        data = memoryview(json.dumps(message).encode() + b"\n")
        while data:
            data = data[os.write(self._write, data) :]

    def receive(self) -> list:
        """The next message. Ends this process if the other end has closed."""
        line = self._reader.readline()
        if not line.endswith(b"\n"):
            os._exit(1)  # an exception would look like one of the code under test
        return json.loads(line.decode())

    def request(self, operation, target, positional, named):
        """The other end's answer: returns or raises it. Changes to arguments are repeated here."""
        exchange = Exchange(self)
        target = exchange.pack(target)
        arguments = [exchange.pack(value) for value in (*positional, *named.values())]
        self.send("do", operation, target, arguments, list(named))
        return self.serve(exchange)

    def serve(self, exchange=None):
        """Answers requests until the answer to the request of `exchange` comes."""
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

    def _answer(self, operation, target, arguments, names) -> None:
        exchange = Exchange(self)
        try:
            target, arguments = exchange.read_call(target, arguments)
            positional = arguments[: len(arguments) - len(names)]
            named = dict(zip(names, arguments[len(positional) :], strict=True))
            kind, result = "return", self.do(operation, target, positional, named)
        except Exception as error:
            kind, result = "raise", error
        try:
            message = kind, *exchange.answer(result)
        except Exception as error:  # the result is not plain data
            message = "raise", *Exchange(self).answer(error)
        self.send(*message)

    def number(self, value) -> int:
        """The number by which the other end refers to an object here."""
        if id(value) not in self._numbers:
            self._numbers[id(value)] = len(self.kept)
            self.kept.append(value)
        return self._numbers[id(value)]
