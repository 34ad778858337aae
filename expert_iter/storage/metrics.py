"""A run's metrics by position, as JSON lines and for TensorBoard."""

import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from etils import epath

from expert_iter.errors import UserError
from expert_iter.storage import workdir as workdir_lib
from expert_iter.storage.files import is_local, write_atomic


class Metrics:
    """Appends scalars to a workdir's `metrics.jsonl` and, on a local disk, `tensorboard/`.

    Only process 0 of a run writes metrics. Write a position's metrics before its checkpoint. Then
    every checkpoint has all earlier lines, and a resumed run leaves neither gaps nor duplicates.
    """

    def __init__(self, workdir: str | os.PathLike, resume_at: int = 0):
        """Opens the metrics of a workdir, which is made if it does not exist.

        Args:
          workdir: the run's directory.
          resume_at: lines at this position and later are dropped, since the resumed run writes them
            again. 0 drops all.

        Raises:
          UserError: `metrics.jsonl` has a damaged line other than a half-written last one.
        """
        self._path = epath.Path(workdir) / workdir_lib.METRICS
        self._tensorboard = Path(workdir, workdir_lib.TENSORBOARD)
        self._writer = None
        epath.Path(workdir).mkdir(parents=True, exist_ok=True)
        self._lines = [line for line in read(workdir) if line["position"] < resume_at]
        self._write_all()

    def write(self, position: int, scalars: Mapping[str, float]) -> None:
        """Appends one line. NaN and infinities become null."""
        line = {"position": position, "time": round(time.time(), 3)}
        line |= {name: _number(value) for name, value in scalars.items()}
        self._lines.append(line)
        if not is_local(self._path):
            self._write_all()  # object stores cannot append
            return
        with open(self._path, "a") as file:
            file.write(json.dumps(line) + "\n")
        if self._writer is None:
            self._start_tensorboard()
        else:
            self._show(line)
        self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _start_tensorboard(self) -> None:
        from tensorboardX import SummaryWriter  # here: slow to import

        # Event files cannot be cut at a position, so they are rewritten from the kept lines.
        for path in self._tensorboard.glob("events.out.tfevents.*"):
            path.unlink()
        self._writer = SummaryWriter(str(self._tensorboard))
        for line in self._lines:
            self._show(line)

    def _write_all(self) -> None:
        write_atomic(self._path, "".join(json.dumps(line) + "\n" for line in self._lines))

    def _show(self, line: Mapping[str, Any]) -> None:
        for name, value in line.items():
            if name not in ("position", "time") and value is not None:
                self._writer.add_scalar(name, value, line["position"], walltime=line["time"])


def read(workdir: str | os.PathLike) -> list[dict[str, Any]]:
    """The lines of a workdir's `metrics.jsonl`; empty if there is no such file.

    Skips a half-written last line, which a killed run leaves.

    Raises:
      UserError: another line is damaged.
    """
    path = epath.Path(workdir) / workdir_lib.METRICS
    if not path.exists():
        return []
    lines = []
    # A line without a newline is half-written.
    for number, text in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            line = json.loads(text)
            _ = line["position"], line["time"]  # every line that `write` wrote has both
        except (ValueError, TypeError, KeyError):
            raise UserError(f"{path}, line {number} is damaged; delete that line") from None
        lines.append(line)
    return lines


def _number(value: Any) -> int | float | None:
    number = value.item() if hasattr(value, "item") else value
    return number if math.isfinite(number) else None
