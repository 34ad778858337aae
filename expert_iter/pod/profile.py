"""A trace of what the devices do during some of a run's work."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import jax

from expert_iter.errors import UserError


class Profile:
    """Traces units of work of the first phase that fits, into `directory`: for XProf, TensorBoard
    or Perfetto (https://docs.jax.dev/en/latest/profiling.html).

    phase: its name, such as "search", or with its round, "round 3: search"; units: "1-3", the
    first of them 0 (where programs are still compiled).

    Raises:
      UserError: units are not two numbers, the second not below the first.
    """

    def __init__(self, directory: Path, phase: str, units: str):
        found = re.fullmatch(r"(\d+)-(\d+)", units)
        if not found or int(found[1]) > int(found[2]):
            raise UserError(
                f"--profile_units takes the first and the last, as in 1-3, not '{units}'"
            )
        self._directory, self.phase = directory, phase
        self._first, self._last = int(found[1]), int(found[2])
        self._tracing = self.done = False

    @contextlib.contextmanager
    def unit(self, name: str, label: str, number: int) -> Iterator[None]:
        """Around the work on a unit of a phase; its label says the round, too."""
        fits = self.phase in (name, label)
        if fits and number == self._first and not self.done:
            jax.profiler.start_trace(str(self._directory))
            self._tracing = True
        try:
            yield
        finally:
            if self._tracing and number == self._last:
                self.close()

    def close(self) -> None:
        """Writes what there is, if the phase was shorter."""
        if self._tracing:
            jax.profiler.stop_trace()
            self._tracing, self.done = False, True
