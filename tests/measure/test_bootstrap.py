import itertools
from statistics import NormalDist

import numpy as np
import pytest

from expert_iter.measure.bootstrap import interval, interval_over_seeds, paired_difference


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_interval_covers_the_true_accuracy_about_as_often_as_it_says(p):
    rng = np.random.default_rng(1)
    trials = 400
    hits = 0
    for trial in range(trials):
        _, low, high = interval(rng.random(120) < p, confidence=0.9, samples=500, seed=trial)
        hits += low <= p <= high
    # The standard error of this share is 0.015, and percentile intervals are a little narrow.
    assert 0.84 < hits / trials < 0.95


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_interval_is_the_normal_one_for_many_problems(confidence):
    n, right = 4000, 1000
    mean, low, high = interval(np.arange(n) < right, confidence=confidence, samples=20_000)
    half = NormalDist().inv_cdf((1 + confidence) / 2) * np.sqrt(0.25 * 0.75 / n)
    assert mean == 0.25
    assert [low, high] == pytest.approx([0.25 - half, 0.25 + half], abs=0.05 * half)


def test_interval_against_every_possible_resample():
    scores = np.array([0.0, 0.2, 0.2, 0.9, 1.0])
    every = np.array([np.mean(draw) for draw in itertools.product(scores, repeat=5)])
    mean, low, high = interval(scores, confidence=0.8, samples=40_000)
    assert mean == pytest.approx(scores.mean())
    # The exact distribution is discrete: the quantile lies between its neighbours' quantiles.
    for value, level in ((low, 0.1), (high, 0.9)):
        assert np.quantile(every, level - 0.01) <= value + 1e-9
        assert value - 1e-9 <= np.quantile(every, level + 0.01)


def test_seeds_are_averaged_before_problems_are_resampled():
    rng = np.random.default_rng(2)
    correct = rng.random((3, 200)) < rng.random(200)
    assert interval(correct) == interval(correct.mean(axis=0))
    _, low, high = interval(np.repeat(correct[:1], 50, axis=0))
    assert (low, high) == interval(correct[0])[1:]  # repeating a run adds no certainty


@pytest.mark.parametrize("n", [1, 10, 300])
def test_all_wrong_and_all_right_get_the_clopper_pearson_interval(n):
    mean, low, high = interval(np.zeros(n, bool))
    assert (mean, low) == (0, 0)
    assert (1 - high) ** n == pytest.approx(0.025)  # how likely n wrong are at that accuracy
    mean, mirrored_low, mirrored_high = interval(np.ones((2, n)))
    assert (mean, mirrored_high) == (1, 1)
    assert mirrored_low == pytest.approx(1 - high)


def test_paired_difference_is_narrower_than_unpaired_and_covers():
    rng = np.random.default_rng(3)
    hits, trials = 0, 200
    for trial in range(trials):
        hard = rng.random(150)
        a, b = rng.random(150) < hard * 0.9 + 0.1, rng.random(150) < hard * 0.9
        _, low, high = paired_difference(a, b, samples=500, seed=trial)
        hits += low <= 0.1 <= high
    assert 0.9 < hits / trials <= 0.99

    same = rng.random(500) < 0.5
    better = same | (rng.random(500) < 0.1)
    mean, low, high = paired_difference(better, same)
    assert mean == pytest.approx(better.mean() - same.mean())
    assert 0 < low < mean < high
    assert high - low < 0.6 * (interval(better)[2] - interval(better)[1])
    back = paired_difference(same, better)
    assert back == pytest.approx((-mean, -high, -low), abs=0.01)


def test_methods_that_never_disagree_are_not_certainly_equal():
    right = np.arange(100) % 2 == 0
    mean, low, high = paired_difference(right, right)
    assert mean == 0
    assert low == -high and (1 - high) ** 100 == pytest.approx(0.025)
    mean, low, high = paired_difference(np.ones(100), np.zeros(100))
    assert (mean, high) == (1, 1) and 0.9 < low < 1


@pytest.mark.parametrize(
    "bad", [[], np.zeros((2, 0)), np.zeros((1, 1, 1)), [0, 2], [0.5, np.nan], 1]
)
def test_refuses_what_is_not_a_score_per_problem(bad):
    with pytest.raises(ValueError):
        interval(bad)


def test_refuses_unpaired_problems_and_impossible_confidence():
    with pytest.raises(ValueError, match="3 problems with 2"):
        paired_difference([1, 0, 1], [1, 0])
    with pytest.raises(ValueError, match="confidence"):
        interval([1, 0], confidence=95)


def test_an_interval_over_seeds_adds_what_each_of_both_varies():
    """The variance is the sum of that over seeds, that over problems, and that of what is left."""
    rng = np.random.default_rng(0)
    S, P = 12, 150
    seed, problem = rng.normal(size=(S, 1)), rng.normal(size=(1, P))
    for a, b in ((0.0, 1.0), (1.0, 0.0), (0.3, 2.0)):
        mean, low, high = interval_over_seeds(a * seed + b * problem, samples=8000)
        expected = np.sqrt(a**2 * seed.var() / S + b**2 * problem.var() / P)
        assert mean == pytest.approx(a * seed.mean() + b * problem.mean())
        wide = (high - low) / (2 * NormalDist().inv_cdf(0.975))
        assert wide == pytest.approx(expected, rel=0.06)
    one = interval_over_seeds(problem > 0)
    assert one == pytest.approx(interval((problem > 0)[0]), abs=0.015)
    with pytest.raises(ValueError, match="seeds, problems"):
        interval_over_seeds([1, 0])
