"""Plain data as JSON: how values pass between tester and guest.

Both processes load this file as the module `code_values`. Reading is safe: it builds values of the
types below and nothing else. An object of any other type stays in its process.

None, bools, floats, strings and integers below 2**63 are JSON themselves. Any other value is a
list, one of
    [type, *parts]                          an immutable value, see `_PARTS`
    [type, options, *contents]              a mutable value, see `_OPTIONS`
    ["@", number]                           a value that has passed before, see `Exchange`
    ["type", name]                          a type that only makes data
    ["namedtuple", name, fields, *values]
    ["exception", builtin type, args, None or [name of its own type, owner, ...]]
    ["object", owner, ...]                  an object in its process, see `code_wire.Wire`
"""

import builtins
import functools
import marshal
import operator
from collections import namedtuple

_TYPES = {
    kind.__name__: kind
    for kind in (
        *(bool, int, float, complex, str, bytes, bytearray, list, tuple, set, frozenset, dict),
        *(object, type(None)),
    )
}
_SMALL = 1 << 63  # larger integers pass as hexadecimal, whose length Python does not limit


def _items(value):
    return [part for item in value for part in item]


def _dict(*parts):
    parts = iter(parts)
    return dict(zip(parts, parts, strict=True))


# Immutable types, with the parts to build a value from. A subclass passes as its base type here.
_PARTS = {
    "int": lambda value: [hex(value)],
    "bytes": lambda value: [value.decode("latin-1")],
    "tuple": list,
    "frozenset": list,
    "dict_keys": list,
    "dict_values": list,
    "dict_items": _items,
    "complex": operator.attrgetter("real", "imag"),
    "range": operator.attrgetter("start", "stop", "step"),
    "slice": operator.attrgetter("start", "stop", "step"),
    "fractions.Fraction": operator.attrgetter("numerator", "denominator"),
    "decimal.Decimal": lambda value: [str(value)],
    "datetime.timedelta": operator.attrgetter("days", "seconds", "microseconds"),
    "datetime.timezone": lambda value: value.__getinitargs__(),
    "datetime.date": operator.attrgetter("year", "month", "day"),
    "datetime.time": operator.attrgetter("hour", "minute", "second", "microsecond", "tzinfo"),
    "datetime.datetime": operator.attrgetter(
        *("year", "month", "day", "hour", "minute", "second", "microsecond", "tzinfo")
    ),
    "collections.ChainMap": lambda value: value.maps,
}
# How to build a value, where not by calling the type with the parts.
_MAKE = {
    "int": lambda text: int(text, 16),
    "bytes": lambda text: text.encode("latin-1"),
    "tuple": lambda *parts: parts,
    "frozenset": lambda *parts: frozenset(parts),
    "dict_keys": lambda *parts: dict.fromkeys(parts).keys(),
    "dict_values": lambda *parts: dict(enumerate(parts)).values(),
    "dict_items": lambda *parts: _dict(*parts).items(),
}


# Mutable types, with the arguments that make an empty value.
_OPTIONS = {
    **dict.fromkeys(("list", "set", "dict", "bytearray")),  # none
    **dict.fromkeys(("collections.Counter", "collections.OrderedDict")),
    "collections.defaultdict": lambda value: [value.default_factory],
    "collections.deque": lambda value: [(), value.maxlen],
    "array.array": lambda value: [value.typecode],
}


@functools.cache
def _type_of(name):
    module, _, name = name.rpartition(".")
    return getattr(__import__(module or "builtins"), name)


@functools.cache
def _plain(kind):
    """The type, and its name, that values of a type pass as; None, None if not plain data."""
    for base in kind.__mro__:
        name = base.__qualname__
        if base.__module__ != "builtins":
            name = f"{base.__module__}.{name}"
        if name in _PARTS or name in _OPTIONS or base is str or base is float:
            return base, name
    return None, None


def _fields(kind):
    """The field names of a namedtuple type; None for any other type."""
    fields = getattr(kind, "_fields", None)
    return fields if isinstance(fields, tuple) and hasattr(kind, "_make") else None


def _contents(value):
    """What is in a mutable value, as its plain type has it, whatever a subclass says."""
    if type(value) is list:  # first, for speed
        return value
    kind, _ = _plain(type(value))
    return _items(kind.items(value)) if issubclass(kind, dict) else kind.__iter__(value)


def _refill(value, contents):
    if hasattr(value, "clear"):
        value.clear()
    else:  # an array
        del value[:]
    if isinstance(value, dict):
        value.update(_dict(*contents))
    elif isinstance(value, set):
        value.update(contents)
    else:
        value.extend(contents)


def _bytes(packed):
    """For comparisons that tell 1, 1.0 and True apart. Version 2 has no back references, so equal
    lists give equal bytes."""
    return marshal.dumps(packed, 2)


class Exchange:
    """The values of one call and its answer.

    Mutable values are numbered in the order in which they pass, alike on both ends. A list that is
    passed twice is one list there, and changes to it are repeated here when the answer is read.
    """

    def __init__(self, wire):
        """`wire` resolves references to objects, and stores the namedtuple types."""
        self._wire = wire
        self._mutable = []
        self._numbers = {}
        self._call = []  # the arguments that came with a call, packed
        self._arguments = []

    def pack(self, value):
        """The JSON form of a value."""
        kind = type(value)
        if kind is str or kind is float or kind is bool or value is None:
            return value
        if kind is int and -_SMALL < value < _SMALL:
            return value
        base, name = _plain(kind)
        if name in _OPTIONS:
            if id(value) in self._numbers:
                return ["@", self._numbers[id(value)]]
            self._add(value)
            options = _OPTIONS[name]
            options = list(map(self.pack, options(value))) if options else []
            return [name, options, *map(self.pack, _contents(value))]
        if name is None:
            return self._pack_object(value)
        if base is str:
            return str.__str__(value)
        if base is float:
            return float.__float__(value)
        if base is int and -_SMALL < value < _SMALL:
            return int.__int__(value)
        if base is tuple and (fields := _fields(kind)) is not None:
            self._wire.records[kind.__name__, fields] = kind
            return ["namedtuple", kind.__name__, list(fields), *map(self.pack, value)]
        return [name, *map(self.pack, _PARTS[name](value))]

    def unpack(self, packed):
        """The value of a JSON form. Raises ValueError for a form that `pack` does not produce."""
        if not isinstance(packed, list):
            return packed
        name, *parts = packed
        if name in _OPTIONS:
            options, *contents = parts
            value = _type_of(name)(*map(self.unpack, options))
            self._add(value)
            _refill(value, list(map(self.unpack, contents)))
            return value
        if name in _PARTS:
            return (_MAKE.get(name) or _type_of(name))(*map(self.unpack, parts))
        if name == "@":
            return self._mutable[parts[0]]
        if name == "object":
            return self._wire.object_of(*parts)
        if name == "type":
            return _TYPES[parts[0]]
        if name == "namedtuple":
            name, fields, *values = parts
            return self._record(name, tuple(fields))._make(map(self.unpack, values))
        if name == "exception":
            return self._unpack_exception(*parts)
        raise ValueError("no such value")

    def read_call(self, target, arguments):
        """The target and the arguments of a call."""
        target = self.unpack(target)
        self._call = arguments
        self._arguments = [self.unpack(value) for value in arguments]
        return target, self._arguments

    def answer(self, result):
        """The result of the call, and the contents of its mutable arguments if any has changed."""
        mutable = self._mutable[:]
        packed = self.pack(result)
        if mutable:
            again = Exchange(self._wire)
            if _bytes(list(map(again.pack, self._arguments))) != _bytes(self._call):
                return packed, [list(map(self.pack, _contents(value))) for value in mutable]
        return packed, []

    def read_answer(self, packed, changes):
        """The result. Does here what the call has changed there."""
        mutable = self._mutable[:]
        result = self.unpack(packed)
        for value, contents in zip(mutable, changes, strict=False):
            if _bytes(list(map(self.pack, _contents(value)))) != _bytes(contents):
                _refill(value, list(map(self.unpack, contents)))
        return result

    def _add(self, value):
        self._numbers[id(value)] = len(self._mutable)
        self._mutable.append(value)

    def _record(self, name, fields):
        records = self._wire.records
        if (name, fields) not in records:
            # `rename` replaces invalid field names.
            records[name, fields] = namedtuple(name, fields, rename=True)
        return records[name, fields]

    def _pack_object(self, value):
        if isinstance(value, type) and _TYPES.get(value.__name__) is value:
            return ["type", value.__name__]
        if not isinstance(value, Exception):
            return ["object", *self._wire.reference(value)]
        kind = next(k for k in type(value).__mro__ if vars(builtins).get(k.__name__) is k)
        own = None if kind is type(value) else self._wire.reference_to_error(value)
        return ["exception", kind.__name__, [self.pack(arg) for arg in value.args], own]

    def _unpack_exception(self, name, args, own):
        kind = getattr(builtins, name)
        if not issubclass(kind, Exception):
            raise ValueError("no such exception")
        return self._wire.error_of(kind, [self.unpack(arg) for arg in args], own)
