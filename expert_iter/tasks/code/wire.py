"""How values pass between the process that judges and the one that runs the code under test.

Plain data, as JSON, and nothing that could act on the reader: an object of any other type stays
where it is, and its number passes. Both processes run this text as their module `code_wire`; no
part of the package can be imported here.

None, bools, floats, text and integers below 2**63 are JSON themselves; the rest is a list whose
first item says what it is:
    ["i", hexadecimal]      ["c", real, imaginary]     ["b", text] bytes, as Latin-1
    ["l", ...] list         ["t", ...] tuple           ["y", text] bytearray
    ["s", ...] set          ["z", ...] frozenset       ["d", key, value, ...] dict
    ["q", ...] deque        ["n", name] a builtin      ["r", start, stop, step] range
    ["o", owner, number or name] an object
"""

import json
import os
from collections import deque

MUTABLE = (list, dict, set, bytearray)
_SEQUENCES = {"l": list, "t": tuple, "s": set, "z": frozenset, "q": deque}
_SEQUENCE_TAGS = {kind: tag for tag, kind in _SEQUENCES.items()}


class Wire:
    """One end of the line. `of_object(value)` gives the items after "o" for what is no plain data,
    or raises TypeError; `object_of(items)` undoes it. `builtins` are those known by name.
    """

    def __init__(self, read: int, write: int, builtins: dict):
        self._reader = os.fdopen(read, "rb")
        self._write = write
        self._builtins = builtins
        self._names = {id(value): name for name, value in builtins.items()}

    def send(self, *message) -> None:
        """A message of JSON values."""
        data = memoryview(json.dumps(message).encode() + b"\n")
        while data:
            data = data[os.write(self._write, data) :]

    def receive(self) -> list:
        """The next message; EOFError if the other end is gone."""
        line = self._reader.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        return json.loads(line)

    def pack(self, value):
        """Instances of subclasses (a namedtuple, a Counter) pass as the plain type below them."""
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            value = int(value)
            return value if abs(value) < 1 << 63 else ["i", hex(value)]
        if isinstance(value, float):
            return float(value)
        if isinstance(value, str):
            return str(value)
        if isinstance(value, complex):
            return ["c", value.real, value.imag]
        if isinstance(value, (bytes, bytearray)):
            return ["b" if isinstance(value, bytes) else "y", bytes(value).decode("latin-1")]
        for kind, tag in _SEQUENCE_TAGS.items():
            if isinstance(value, kind):
                return [tag, *map(self.pack, value)]
        if isinstance(value, dict):
            return ["d", *(self.pack(part) for item in value.items() for part in item)]
        if isinstance(value, range):
            return ["r", *map(self.pack, (value.start, value.stop, value.step))]
        if id(value) in self._names:
            return ["n", self._names[id(value)]]
        return ["o", *self.of_object(value)]

    def unpack(self, packed):
        if not isinstance(packed, list):
            return packed
        tag, *items = packed
        if tag in _SEQUENCES:
            return _SEQUENCES[tag](map(self.unpack, items))
        if tag == "d":
            parts = map(self.unpack, items)
            return dict(zip(parts, parts, strict=True))
        if tag == "i":
            return int(items[0], 16)
        if tag == "c":
            return complex(*items)
        if tag in "by":
            data = items[0].encode("latin-1")
            return data if tag == "b" else bytearray(data)
        if tag == "r":
            return range(*map(self.unpack, items))
        if tag == "n":
            return self._builtins[items[0]]
        if tag == "o":
            return self.object_of(items)
        raise ValueError("no such value")

    def pack_error(self, error: BaseException) -> list:
        return [type(error).__name__, str(error)]
