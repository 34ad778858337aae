"""How well a run's value head judged what each round's search wrote, from the trees that it kept.

    python benchmarks/value_by_round.py --workdir=runs/smollm2

Prints Markdown, a line a round: of finished solutions and of the steps before, how many there are,
the share that is right (of a step: that leads to a right solution which the search found), the AUC
of the value head and the gap between its probabilities and those shares (ECE). A solution that was
drawn whole is one step. The network that searched round 1 is the warm start's.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np

from expert_iter.measure.calibration import auc, expected_calibration_error
from expert_iter.storage import workdir as workdir_lib
from expert_iter.storage.tree_record import Steps, from_bytes
from expert_iter.storage.tree_store import read, stored


def leads_to_right(steps: Steps) -> np.ndarray:
    """[S] bool. The step ends a right solution, or one found below it does."""
    right = steps.won.copy()
    for step in range(len(right) - 1, -1, -1):  # parents are before their children
        if right[step] and steps.parent[step] >= 0:
            right[steps.parent[step]] = True
    return right


def figures(value: list, right: list) -> str:
    value, right = np.concatenate(value), np.concatenate(right)
    if not len(value):
        return "0 | – | – | –"
    error = expected_calibration_error(value, right)
    return f"{len(value):,} | {right.mean():.1%} | {auc(value, right):.3f} | {error:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, required=True)
    args = parser.parse_args()
    folder = args.workdir / workdir_lib.TREES
    finished, before = (defaultdict(lambda: ([], [])) for _ in range(2))
    for file in stored(folder):
        for record in map(from_bytes, read(folder, file)):
            steps, right = record.steps, leads_to_right(record.steps)
            inner = ~steps.finished & np.isin(np.arange(len(right)), steps.parent)
            for found, those in ((finished, steps.finished), (before, inner)):
                value, came = found[file.round]
                value.append(steps.value[those])
                came.append(right[those])
    if not finished:
        parser.error(f"{folder} has no trees: store.gigabytes keeps them")
    columns = "right | AUC | ECE |"
    print(f"| round | solutions | {columns} steps | {columns}")
    print("|--:" * 9 + "|")
    for round in sorted(finished):
        print(f"| {round} | {figures(*finished[round])} | {figures(*before[round])} |")


if __name__ == "__main__":
    main()
