"""How good a judge the value head is: its ranking of solutions, and the truth of its probabilities.

Scores, probabilities and bool labels (True: verified right) are all [solutions].
"""

import numpy as np


def auc(scores, labels) -> float:
    """Area under the ROC curve: how often a right solution scores above a wrong one.

    Ties count half. It is Mann and Whitney's U over the number of pairs (Hanley & McNeil 1982).
    NaN where all or none are right. Raises ValueError if the shapes differ.
    """
    scores, labels = _checked(scores, labels)
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    _, level, ties = np.unique(scores, return_inverse=True, return_counts=True)
    mean_rank = (
        np.cumsum(ties) - (ties - 1) / 2
    )  # ranks from 1; tied scores share the mean of theirs
    u = mean_rank[level][labels].sum() - positives * (positives + 1) / 2
    return float(u / (positives * negatives))


def brier(probabilities, labels) -> float:
    """Mean squared error of the probabilities (Brier 1950); always saying 0.5 gets 0.25.

    Raises ValueError for no solutions, different shapes, or a probability outside [0, 1].
    """
    probabilities, labels = _checked(probabilities, labels, probability=True)
    return float(np.mean((probabilities - labels) ** 2))


def expected_calibration_error(probabilities, labels, bins: int = 10) -> float:
    """Gap between mean probability and share of right ones, averaged over bins (Guo 2017, eq. 3).

    Bin i of n holds the probabilities in [i/n, (i+1)/n), the last one 1.0 too; bins are weighted
    by how many they hold. Raises ValueError as `brier` does.
    """
    filled = reliability(probabilities, labels, bins)
    return sum(bin["count"] * abs(bin["mean"] - bin["share"]) for bin in filled) / len(labels)


def reliability(probabilities, labels, bins: int = 10) -> list[dict]:
    """The bins of a reliability diagram that hold anything, from low to high.

    Returns a dict each: `low` and `high`, the edges (bins as in `expected_calibration_error`);
    `count` of solutions; their `mean` probability; the `share` of them that are right. Raises
    ValueError as `brier` does.
    """
    probabilities, labels = _checked(probabilities, labels, probability=True)
    bin_of = np.minimum((probabilities * bins).astype(int), bins - 1)
    counts = np.bincount(bin_of, minlength=bins)
    promised = np.bincount(bin_of, weights=probabilities, minlength=bins)
    came = np.bincount(bin_of, weights=labels, minlength=bins)
    return [
        {
            "low": i / bins,
            "high": (i + 1) / bins,
            "count": int(counts[i]),
            "mean": float(promised[i] / counts[i]),
            "share": float(came[i] / counts[i]),
        }
        for i in np.flatnonzero(counts).tolist()
    ]


def by_position(position, probabilities, labels, bins: int = 10) -> list[dict]:
    """How good the judge is at each position, such as the step that a value was asked after.

    Args:
        position: names or numbers, [solutions].
        probabilities, labels, bins: as in `reliability`.

    Returns:
        One dict for each distinct position, in order of appearance: `position`, `count`,
        `base_rate` (share of right ones), `ece`, `brier`, `auc` (NaN where all or none are right)
        and `bins`, the `reliability` at this position.

    Raises:
        ValueError: as `brier`, or there are more or fewer positions than labels.
    """
    probabilities, labels = _checked(probabilities, labels, probability=True)
    positions = position.tolist() if isinstance(position, np.ndarray) else list(position)
    if len(positions) != len(labels):
        raise ValueError(f"want one position a label, got {len(positions)} for {len(labels)}")
    members = {}
    for i, name in enumerate(positions):
        members.setdefault(name, []).append(i)
    return [
        {
            "position": name,
            "count": len(here),
            "base_rate": float(labels[here].mean()),
            "ece": expected_calibration_error(probabilities[here], labels[here], bins),
            "brier": brier(probabilities[here], labels[here]),
            "auc": auc(probabilities[here], labels[here]),
            "bins": reliability(probabilities[here], labels[here], bins),
        }
        for name, here in members.items()
    ]


def _checked(scores, labels, probability: bool = False) -> tuple[np.ndarray, np.ndarray]:
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=bool)
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(f"want two [solutions] arrays, got {scores.shape} and {labels.shape}")
    if probability and (scores.size == 0 or not np.all((scores >= 0) & (scores <= 1))):
        raise ValueError("want at least one probability, all in [0, 1]")
    return scores, labels
