"""Traces what the devices do during part of a run, with JAX's profiler."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import jax

from expert_iter.errors import UserError


class Profile:
    """Traces units of work of the first phase that matches.

    XProf, TensorBoard and Perfetto open the trace: https://docs.jax.dev/en/latest/profiling.html.

    Attributes:
      phase: name of the phase to trace, such as "search"; with its round, "round 3: search".
      done: whether a trace was written.
    """

    def __init__(self, directory: Path, phase: str, units: str):
        """Raises UserError unless `units` is two numbers in order.

        Args:
          directory: where the trace is written.
          phase: see the attribute.
          units: first and last unit to trace, as in "1-3". Unit 0 includes compilation.
        """
        found = re.fullmatch(r"(\d+)-(\d+)", units)
        if not found or int(found[1]) > int(found[2]):
            raise UserError(
                f"--profile_units takes the first and the last unit, as in 1-3, not '{units}'"
            )
        self._directory, self.phase = directory, phase
        self._first, self._last = int(found[1]), int(found[2])
        self._tracing = self.done = False

    @contextlib.contextmanager
    def unit(self, name: str, label: str, number: int) -> Iterator[None]:
        """Traces the work on one unit of a phase, if it is to be traced.

        Args:
          name: of the phase, such as "search".
          label: the name with its round, such as "round 3: search".
          number: of the unit, from 0.
        """
        matches = self.phase in (name, label)
        if matches and number == self._first and not self.done:
            jax.profiler.start_trace(str(self._directory))
            self._tracing = True
        try:
            yield
        finally:
            if self._tracing and number == self._last:
                self.close()

    def close(self) -> None:
        """Ends a trace in progress: the phase may have had fewer units than were asked for."""
        if self._tracing:
            jax.profiler.stop_trace()
            self._tracing, self.done = False, True
