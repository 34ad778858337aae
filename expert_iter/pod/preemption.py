"""Being told to leave: SIGTERM means that the machine will be taken away soon.

One process leaves at the next unit of work. Several agree by JAX's own preemption sync point on the
unit after which all of them leave, whichever was told.
"""

import signal

import jax
from jax.experimental import multihost_utils


class Preemption:
    """Listens from its making on."""

    def __init__(self):
        self._told = False
        # Several processes: JAX's runtime has taken the signal over when they joined.
        if jax.process_count() == 1:
            signal.signal(signal.SIGTERM, self._tell)

    def _tell(self, *_) -> None:
        self._told = True

    def reached(self, unit: int) -> bool:
        """Whether to save and leave now. All processes ask after each unit of work; `unit` counts
        them up.
        """
        if jax.process_count() == 1:
            return self._told
        return multihost_utils.reached_preemption_sync_point(unit)
