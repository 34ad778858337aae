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
    probabilities, labels = _checked(probabilities, labels, probability=True)
    bin_of = np.minimum((probabilities * bins).astype(int), bins - 1)
    promised = np.bincount(bin_of, weights=probabilities, minlength=bins)
    came = np.bincount(bin_of, weights=labels, minlength=bins)
    return float(np.abs(promised - came).sum() / len(labels))


def _checked(scores, labels, probability: bool = False) -> tuple[np.ndarray, np.ndarray]:
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=bool)
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(f"want two [solutions] arrays, got {scores.shape} and {labels.shape}")
    if probability and (scores.size == 0 or not np.all((scores >= 0) & (scores <= 1))):
        raise ValueError("want at least one probability, all in [0, 1]")
    return scores, labels
