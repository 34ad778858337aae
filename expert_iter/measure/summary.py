"""What a run leaves for people: `summary.json`, two pictures, and the closing table."""

import json
from collections.abc import Sequence
from pathlib import Path

from expert_iter.measure import plots, tables
from expert_iter.storage.files import write_atomic
from expert_iter.storage.workdir import SUMMARY

BY_ROUND = "accuracy_by_round.png"
BY_COMPUTE = "accuracy_by_compute.png"


def summarise(workdir: Path, results: Sequence[dict], costs: dict) -> str:
    """Writes the summary and the pictures into the workdir; returns the table as text.

    Args:
      results: rows of `measure.scores.scored` with `when`: 'before', 'after', or 'round' (with
      `round`). costs: figures of the whole run, such as its seconds by phase.
    """
    finals = [row for row in results if row["when"] != "round"]
    rounds = [row for row in results if row["when"] == "round"]
    write_atomic(
        workdir / SUMMARY,
        json.dumps({"results": finals, "rounds": rounds, "costs": costs}, indent=1) + "\n",
    )
    plots.accuracy_by_round(rounds, workdir / BY_ROUND)
    plots.accuracy_by_compute(finals, workdir / BY_COMPUTE)
    return tables.terminal(finals)
