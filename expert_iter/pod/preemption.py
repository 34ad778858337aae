"""Preemption: SIGTERM means that the machine will be taken away soon.

A single process stops after its current unit of work. Several processes agree, by JAX's preemption
sync point, on the unit after which all of them stop, whichever of them got the signal.
"""

import signal

import jax
from jax.experimental import multihost_utils


class Preemption:
    """Listens for SIGTERM from its construction on."""

    def __init__(self):
        self._signalled = False
        # With several processes, JAX's runtime has installed its own handler at their start.
        if jax.process_count() == 1:
            signal.signal(signal.SIGTERM, self._on_signal)

    def _on_signal(self, *_) -> None:
        self._signalled = True

    def reached(self, unit: int) -> bool:
        """Whether to save and stop now. All processes must call this after each unit of work.

        Args:
          unit: the number of the unit, which rises from call to call.
        """
        if jax.process_count() == 1:
            return self._signalled
        return multihost_utils.reached_preemption_sync_point(unit)
