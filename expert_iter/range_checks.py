"""Range checks for the values of a config section."""

from typing import Any

from expert_iter.errors import UserError


class Checks:
    """Range checks. Each method raises UserError, naming the key, at the first bad value."""

    def __init__(self, section: str, config: Any):
        """Checks values of `config`, the dataclass of the section named `section`."""
        self._section, self._config = section, config

    def at_least(self, least: int, *keys: str) -> None:
        self._all(keys, lambda value: value >= least, f"at least {least}")

    def between(self, least: float, most: float, *keys: str) -> None:
        self._all(keys, lambda value: least <= value <= most, f"between {least} and {most}")

    def positive(self, *keys: str) -> None:
        self._all(keys, lambda value: value > 0, "positive")

    def not_negative(self, *keys: str) -> None:
        self._all(keys, lambda value: value >= 0, "0 or more")

    def share(self, *keys: str) -> None:
        self._all(keys, lambda value: 0 <= value <= 1, "between 0 and 1")

    def below_one(self, *keys: str) -> None:
        self._all(keys, lambda value: 0 <= value < 1, "in [0, 1)")

    def one_of(self, key: str, *choices: str) -> None:
        self._all([key], lambda value: value in choices, " or ".join(map(repr, choices)))

    def _all(self, keys, holds, wanted: str) -> None:
        for key in keys:
            value = getattr(self._config, key)
            if not holds(value):
                raise UserError(f"{self._section}.{key} must be {wanted}, got {value!r}")
