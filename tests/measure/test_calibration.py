import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from expert_iter.measure.calibration import auc, brier, expected_calibration_error

# Multiples of 1/16 are exact, so that ties and bin edges are met often and without rounding.
judged = st.lists(st.tuples(st.integers(0, 16), st.booleans()), min_size=1, max_size=40)


def unzip(pairs):
    return np.array([n / 16 for n, _ in pairs]), np.array([right for _, right in pairs])


@given(judged)
def test_auc_is_the_share_of_pairs_in_order(pairs):
    scores, labels = unzip(pairs)
    outcomes = [
        (good > bad) + 0.5 * (good == bad) for good in scores[labels] for bad in scores[~labels]
    ]
    if outcomes:
        assert auc(scores, labels) == pytest.approx(sum(outcomes) / len(outcomes))
    else:
        assert math.isnan(auc(scores, labels))


@given(judged, st.sampled_from([1, 4, 8]))
def test_calibration_error_bin_by_bin(pairs, bins):
    probabilities, labels = unzip(pairs)
    total = 0.0
    for i in range(bins):
        last = i == bins - 1
        inside = [
            (p, right)
            for p, right in zip(probabilities, labels, strict=True)
            if i / bins <= p and (p < (i + 1) / bins or last)
        ]
        if inside:
            gap = np.mean([p for p, _ in inside]) - np.mean([right for _, right in inside])
            total += abs(gap) * len(inside) / len(labels)
    assert expected_calibration_error(probabilities, labels, bins) == pytest.approx(total)


def test_known_cases():
    assert auc([0.1, 0.2, 0.8, 0.9], [False, False, True, True]) == 1
    assert auc([5, 5, 5], [True, False, True]) == 0.5
    assert auc([], []) != auc([], [])  # NaN
    assert brier([0.5, 0.5], [True, False]) == 0.25
    assert brier([0.9, 0.2], [True, False]) == pytest.approx((0.01 + 0.04) / 2)
    assert expected_calibration_error([1, 0], [True, False]) == 0
    assert expected_calibration_error([1, 0], [False, True]) == 1
    # Half of what is promised at 0.75 comes true: a gap of 0.25, though every ranking is right.
    assert expected_calibration_error([0.75] * 4, [True, True, False, False]) == 0.25


def test_honest_probabilities_are_calibrated_and_sharpened_ones_are_not():
    rng = np.random.default_rng(0)
    truth = rng.random(20_000)
    labels = rng.random(20_000) < truth
    sharpened = truth**3 / (truth**3 + (1 - truth) ** 3)
    assert expected_calibration_error(truth, labels) < 0.015
    assert expected_calibration_error(sharpened, labels) > 0.1
    assert brier(truth, labels) < brier(sharpened, labels)
    assert auc(truth, labels) == pytest.approx(auc(sharpened, labels))


@pytest.mark.parametrize("function", [auc, brier, expected_calibration_error])
def test_refuses_scores_without_labels(function):
    with pytest.raises(ValueError, match="arrays"):
        function([0.1, 0.2], [True])


@pytest.mark.parametrize("function", [brier, expected_calibration_error])
@pytest.mark.parametrize("bad", [[], [1.5], [float("nan")]])
def test_refuses_what_is_no_probability(function, bad):
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        function(bad, [True] * len(bad))
