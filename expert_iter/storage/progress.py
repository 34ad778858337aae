"""Shows a phase's progress: a bar on a terminal, a line every 15 seconds in a log file."""

import sys
import time

import tqdm

from expert_iter.pod import processes

_clock = tqdm.tqdm.format_interval
_LINE_SECONDS = 15.0  # between lines where there is no terminal


def progress(total: int, label: str, done: int = 0, unit: str = "it") -> "_Bar | _Lines":
    """Shows on stderr how much of a phase is done, its fields and the time left.

    Use it as a context manager, and call `update(n, **fields)` after every n units of work.

    Args:
      total: units of work in the phase.
      label: name of the phase.
      done: units done before the run resumed, which do not count in the speed.
      unit: name of a unit.

    Returns:
      On process 0 a bar or lines; on others a bar that shows nothing.
    """
    shows = processes.is_primary()
    if shows and not sys.stderr.isatty():
        return _Lines(total, label, done, unit)
    where = {"file": sys.stderr, "dynamic_ncols": True, "disable": not shows}
    return _Bar(total=total, desc=label, initial=done, unit=unit, **where)


class _Bar(tqdm.tqdm):
    def update(self, n: int = 1, **fields) -> None:
        if fields:
            self.set_postfix_str(_text(fields), refresh=False)
        super().update(n)


class _Lines:
    def __init__(self, total: int, label: str, done: int, unit: str):
        self._total, self._label, self._unit = total, label, unit
        self._initial = self._done = done
        self._fields = {}
        self._started = self._printed = time.monotonic()

    def update(self, n: int = 1, **fields) -> None:
        self._done += n
        self._fields |= fields
        now = time.monotonic()
        if now - self._printed >= _LINE_SECONDS and self._done < self._total:
            self._printed = now
            seconds = (now - self._started) / max(1, self._done - self._initial)
            self._print(f", {_clock(seconds * (self._total - self._done))} left")

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self._print("")

    def _print(self, left: str) -> None:
        elapsed = _clock(time.monotonic() - self._started)
        fields = f"  {_text(self._fields)}" if self._fields else ""
        print(
            f"{self._label}: {self._done}/{self._total} {self._unit} in {elapsed}{left}{fields}",
            file=sys.stderr,
            flush=True,
        )


def _text(fields: dict) -> str:
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in fields.items()
    )
