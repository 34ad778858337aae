"""The time that this process spends compiling, as JAX reports it."""

import jax

_EVENTS = (
    "/jax/core/compile/jaxpr_trace_duration",
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "/jax/core/compile/backend_compile_duration",
)


class CompileTime:
    """Sums compile times from its construction on.

    Attributes:
      seconds: spent on tracing, lowering, and compiling or reading from the compilation cache.
    """

    def __init__(self):
        self.seconds = 0.0
        jax.monitoring.register_event_duration_secs_listener(self._add)

    def _add(self, event: str, duration: float, **_) -> None:
        if event in _EVENTS:
            self.seconds += duration
