import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from expert_iter.measure.calibration import (
    auc,
    brier,
    by_position,
    expected_calibration_error,
    reliability,
)

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


@given(judged, st.sampled_from([1, 4, 8]))
def test_reliability_bin_by_bin(pairs, bins):
    probabilities, labels = unzip(pairs)
    expected = []
    for i in range(bins):
        low, high = i / bins, (i + 1) / bins
        inside = [
            (p, right)
            for p, right in zip(probabilities, labels, strict=True)
            if low <= p < high or p == high == 1
        ]
        if inside:
            bin = {"low": low, "high": high, "count": len(inside)}
            bin["mean"] = pytest.approx(np.mean([p for p, _ in inside]))
            bin["share"] = pytest.approx(np.mean([right for _, right in inside]))
            expected.append(bin)
    assert reliability(probabilities, labels, bins) == expected


def test_by_position_judges_each_by_itself_in_order_of_appearance():
    rng = np.random.default_rng(1)
    probabilities = rng.random(300)
    labels = rng.random(300) < probabilities
    position = rng.permutation(["end"] * 200 + [7] * 99 + ["start"]).tolist()
    position = [7 if p == "7" else p for p in position]
    found = by_position(position, probabilities, labels, bins=4)
    assert [at["position"] for at in found] == sorted({*position}, key=position.index)
    for at in found:
        here = np.array([p == at["position"] for p in position])
        p, right = probabilities[here], labels[here]
        assert at["count"] == here.sum() and at["base_rate"] == pytest.approx(right.mean())
        assert at["ece"] == pytest.approx(expected_calibration_error(p, right, 4))
        assert at["brier"] == pytest.approx(brier(p, right))
        assert at["auc"] == pytest.approx(auc(p, right), nan_ok=True)
        assert at["bins"] == reliability(p, right, 4)
    (lone,) = by_position(np.zeros(2, int), [0.5, 0.75], [True, True])
    assert type(lone["position"]) is int and math.isnan(lone["auc"])
    with pytest.raises(ValueError, match="position"):
        by_position(["end"], [0.5, 0.5], [True, True])


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


@pytest.mark.parametrize("function", [auc, brier, expected_calibration_error, reliability])
def test_refuses_scores_without_labels(function):
    with pytest.raises(ValueError, match="arrays"):
        function([0.1, 0.2], [True])


@pytest.mark.parametrize("function", [brier, expected_calibration_error, reliability])
@pytest.mark.parametrize("bad", [[], [1.5], [float("nan")]])
def test_refuses_what_is_no_probability(function, bad):
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        function(bad, [True] * len(bad))
