"""Generators, run to their ends."""

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")


def returned(generator: Generator[None, None, T]) -> T:
    """What the generator returns at its end."""
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value
