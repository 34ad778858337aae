"""Bootstrap confidence intervals for accuracies and for the difference of two methods.

The percentile interval of Efron (1979), "Bootstrap methods: another look at the jackknife".
Problems are what is resampled, so it says how far a figure would move on other problems of the
same kind, and not how far it would move with other training seeds.
"""

import numpy as np


def interval(
    correct, confidence: float = 0.95, samples: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean accuracy with its percentile bootstrap interval.

    Args:
        correct: bool or float in [0, 1], [problems] or [seeds, problems]; seeds are averaged first.
        confidence: how probably the interval should cover the true accuracy.
        samples: number of bootstrap resamples.
        seed: of the resampling; equal arguments give equal intervals.

    Returns:
        (mean, low, high). Where all problems have one score every resample is the same, and the
        bootstrap would claim certainty. There the interval is the exact binomial one (Clopper &
        Pearson 1934): for n problems all wrong [0, 1 - ((1 - confidence) / 2)^(1/n)], which is
        about 3.7/n at 95%, and its mirror image for all right.

    Raises:
        ValueError: no problems, a score outside [0, 1], or an array of another rank.
    """
    return _percentile(_per_problem(correct), (0.0, 1.0), confidence, samples, seed)


def paired_difference(
    a, b, confidence: float = 0.95, samples: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean of `a - b` on the same problems, with its percentile bootstrap interval.

    Pairing takes out what makes a problem hard for both, so this tells two methods apart that
    their separate intervals do not.

    Args:
        a, b: as `correct` in `interval`, on the same problems in the same order. Their numbers of
            seeds may differ.
        confidence, samples, seed: as in `interval`.

    Returns:
        (mean, low, high), each in [-1, 1]. Where all problems differ by the same amount it allows
        for those that would not, as in `interval`: two methods that agree on all of n problems
        get 0 ± (1 - ((1 - confidence) / 2)^(1/n)).

    Raises:
        ValueError: as in `interval`, or the numbers of problems are not the same.
    """
    a_P, b_P = _per_problem(a), _per_problem(b)
    if len(a_P) != len(b_P):
        raise ValueError(f"cannot pair {len(a_P)} problems with {len(b_P)}")
    return _percentile(a_P - b_P, (-1.0, 1.0), confidence, samples, seed)


def interval_over_seeds(
    scores, confidence: float = 0.95, samples: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean score with its interval over training seeds and problems.

    Seeds and problems are resampled independently of each other (the pigeonhole bootstrap, Owen
    2007), which errs on the wide side. Three seeds say little: no resample knows a fourth.

    Args:
        scores: [seeds, problems]. Of one method, or the difference of two that share seeds and
            problems.
        confidence, samples, seed: as in `interval`.

    Returns:
        (mean, low, high).

    Raises:
        ValueError: no seeds, no problems, or an array of another rank.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2 or scores.size == 0:
        raise ValueError(f"want [seeds, problems], not empty; got {scores.shape}")
    (S, P), rng = scores.shape, np.random.default_rng(seed)
    seeds_of = rng.multinomial(S, np.full(S, 1 / S), size=samples) / S
    problems_of = rng.multinomial(P, np.full(P, 1 / P), size=samples) / P
    means = np.sum((seeds_of @ scores) * problems_of, axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(scores.mean()), float(low), float(high)


def _per_problem(correct) -> np.ndarray:
    """Scores as floats, seeds averaged: [problems]."""
    scores = np.asarray(correct, dtype=np.float64)
    if scores.ndim not in (1, 2) or scores.size == 0:
        raise ValueError(f"want [problems] or [seeds, problems], not empty; got {scores.shape}")
    if not np.all((scores >= 0) & (scores <= 1)):
        raise ValueError("scores must lie in [0, 1]")
    return scores if scores.ndim == 1 else scores.mean(axis=0)


def _percentile(values_P, bounds, confidence, samples, seed) -> tuple[float, float, float]:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie in (0, 1), got {confidence}")
    tail, n = (1 - confidence) / 2, len(values_P)
    # A resampled mean depends only on how often each distinct value was drawn, and there are few
    # of them (right and wrong): drawing their counts is the same distribution at far less cost.
    levels, counts = np.unique(values_P, return_counts=True)
    mean = float(counts @ levels / n)
    if len(levels) == 1:
        unseen = 1 - tail ** (1 / n)  # a larger share of other problems would have shown up
        low, high = (mean + unseen * (bound - mean) for bound in bounds)
        return mean, low, high
    drawn = np.random.default_rng(seed).multinomial(n, counts / n, size=samples)
    low, high = np.quantile(drawn @ levels / n, [tail, 1 - tail])
    return mean, float(low), float(high)
