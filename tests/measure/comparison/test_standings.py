import itertools

import numpy as np
import pytest

from expert_iter.measure.bootstrap import interval, paired_difference
from expert_iter.measure.comparison.standings import (
    aggregate,
    best_at,
    label,
    labels,
    paired,
    slope,
)
from tests.measure.comparison.standings_rows import array, drawn, row, text


def test_labels_name_a_readout_only_where_it_is_not_the_experts_first():
    assert label("beam_search", "value_vote") == "beam search (value vote)"
    rows = [
        row("samples", "oracle", 8, "10"),
        row("samples", "value_vote", 8, "10"),
        row("beam_search", "best", 8, "10"),
        row("samples", "best", 16, "10"),
        row("only", "oracle", 16, "10"),
    ]
    assert list(labels(rows).items()) == [
        (("samples", "oracle"), "samples"),
        (("samples", "value_vote"), "samples"),
        (("beam_search", "best"), "beam search"),
        (("samples", "best"), "samples (best)"),
        (("only", "oracle"), "only"),
    ]


def test_aggregate_by_hand():
    rows = [
        row("mcts", "best", 8, "1100", seed=0, tokens=7.0, seconds=2.0),
        row("samples", "best", 8, "0000"),
        row("mcts", "best", 8, "0000", seed=1, tokens=100.0),
        row("mcts", "best", 8, "1110", seed=1, tokens=9.0, flops=1e6, seconds=4.0),
        row("mcts", "best", 16, "1111"),
        row("mcts", "best", 8, "1111", unit="flops"),
    ]
    first, *others = aggregate(rows)
    assert [(c["expert"], c["unit"], c["budget"]) for c in others] == [
        ("samples", "tokens", 8),
        ("mcts", "tokens", 16),
        ("mcts", "flops", 8),
    ]
    accuracy, low, high = interval(array("1100", "1110"))  # the later row of seed 1 counts
    assert first == {
        "expert": "mcts",
        "readout": "best",
        "unit": "tokens",
        "budget": 8,
        "seeds": 2,
        "accuracy": accuracy,
        "low": low,
        "high": high,
        "seed_low": 0.5,
        "seed_high": 0.75,
        "tokens": 8.0,
        "prefill_tokens": 9.0,
        "flops": (4e6 + 1e6) / 2,
        "seconds_per_problem": 0.75,
        "problems": 4,
    }
    assert accuracy == 0.625


def test_paired_takes_the_seeds_that_both_have_at_the_same_budget_and_unit():
    rng = np.random.default_rng(0)
    texts = {
        (expert, budget, seed): drawn(rng, p)
        for expert, p in (("mcts", 0.7), ("samples", 0.6), ("lone", 0.5))
        for budget in (16, 8)
        for seed in (1, 0, 2)
    }
    absent = {("samples", 8, 2), ("mcts", 8, 1), ("lone", 16, 0), ("lone", 16, 1), ("lone", 16, 2)}
    rows = [
        row(
            expert, "best", budget, correct, seed, tokens=budget + {"mcts": 1, "samples": 2}[expert]
        )
        if expert != "lone"
        else row(expert, "best", budget, correct, seed + 7)
        for (expert, budget, seed), correct in texts.items()
        if (expert, budget, seed) not in absent
    ]
    rows += [row("samples", "oracle", 8, text(200)), row("mcts", "best", 4, text(9))]
    rows += [row("mcts", "best", 8, text(0), unit="flops")]
    rows += [row("samples", "best", 8, text(0), unit="flops")]

    at_8, at_16 = paired(rows, "tokens", ("samples", "best"))  # no seed of `lone` fits
    ours, theirs = array(texts["mcts", 8, 0]), array(texts["samples", 8, 0])
    difference, low, high = paired_difference(ours, theirs)
    assert at_8 == {
        "budget": 8,
        "expert": "mcts",
        "readout": "best",
        "difference": difference,
        "low": low,
        "high": high,
        "relative_cost": 0.9,
    }
    ours, theirs = (array(*(texts[e, 16, s] for s in range(3))) for e in ("mcts", "samples"))
    expected = paired_difference(ours, theirs)
    assert (at_16["difference"], at_16["low"], at_16["high"]) == pytest.approx(expected)
    assert at_16["budget"] == 16
    (other_unit,) = paired(rows, "flops", ("samples", "best"))
    assert other_unit["difference"] == 0 and other_unit["low"] < 0 < other_unit["high"]


def test_paired_knows_only_baselines_that_answer_by_themselves():
    rows = [row("samples", "oracle", 8, "10"), row("mcts", "best", 8, "10")]
    for baseline, unit in (
        (("samples", "oracle"), "tokens"),
        (("beam", "best"), "tokens"),
        (("mcts", "best"), "flops"),
    ):
        assert paired(rows, unit, baseline) == []


def test_rows_on_different_problems_cannot_be_compared():
    rows = [row("a", "best", 8, "10"), row("a", "best", 8, "101", seed=1)]
    with pytest.raises(ValueError, match=r"\[2, 3\]"):
        aggregate(rows)
    with pytest.raises(ValueError, match="3 problems with 2"):
        paired([rows[0], rows[1] | {"expert": "b", "seed": 0}], "tokens", ("a", "best"))


def test_best_at_names_who_is_level():
    rows = [
        row("oracle_haver", "oracle", 16, text(200)),
        row("close", "best", 16, text(148)),
        row("far", "best", 16, text(100)),
        row("top", "best", 16, text(150)),
        row("other", "best", 16, text(150)),
        row("far", "best", 8, text(90)),
    ]
    best = best_at(rows, "tokens")
    assert best == {
        8: [("far", "best")],
        16: [("top", "best"), ("close", "best"), ("other", "best")],
    }
    assert list(best) == [8, 16]
    assert best_at(rows, "flops") == {}


def test_slope_is_that_of_the_least_squares_line():
    rng = np.random.default_rng(1)
    costs, texts = [90.0, 210.0, 400.0, 1000.0], {}
    for (budget, p), seed in itertools.product({8: 0.2, 16: 0.5, 32: 0.6, 64: 0.9}.items(), (0, 1)):
        texts[budget, seed] = drawn(rng, p)
    rows = [
        row("mcts", "best", budget, correct, seed, tokens=costs[(8, 16, 32, 64).index(budget)])
        for (budget, seed), correct in texts.items()
    ]
    rows += [row("mcts", "best", 128, text(0), unit="flops"), row("mcts", "vote", 128, text(0))]
    scores_BP = np.array([array(texts[b, 0], texts[b, 1]).mean(0) for b in (8, 16, 32, 64)])
    points = [np.polyfit(np.log2(costs), 100 * scores_BP.mean(1), 1)[0]]
    for _ in range(4000):
        picked = rng.integers(0, 200, 200)
        points.append(np.polyfit(np.log2(costs), 100 * scores_BP[:, picked].mean(1), 1)[0])
    line = slope(rows, "mcts", "best", "tokens")
    assert line["slope"] == pytest.approx(points[0])
    low, high = np.quantile(points[1:], [0.025, 0.975])
    assert [line["low"], line["high"]] == pytest.approx([low, high], abs=0.06 * (high - low))
    assert line["doublings"] == pytest.approx(np.log2(1000 / 90))


def test_slope_in_flops_and_where_there_is_none():
    rows = [row("a", "best", 10**6 * 2**i, text(20 * i), unit="flops") for i in range(3)]
    assert slope(rows, "a", "best", "flops")["slope"] == pytest.approx(10)
    assert slope(rows, "a", "best", "tokens") is None
    assert slope(rows[:1], "a", "best", "flops") is None
    same_cost = [row("greedy", "best", b, text(b), tokens=18 + b / 1e3) for b in (8, 16)]
    assert slope(same_cost, "greedy", "best", "tokens") is None


def test_a_slope_without_variation_is_not_certain():
    flat = slope([row("a", "best", b, text(200)) for b in (8, 16, 32)], "a", "best", "tokens")
    assert flat["slope"] == pytest.approx(0) and flat["low"] < -0.5 and flat["high"] > 0.5
    assert flat["low"] == pytest.approx(-flat["high"])
    rows = [row("a", "best", 8, text(0)), row("a", "best", 16, text(200))]
    steep = slope(rows, "a", "best", "tokens")
    assert steep["slope"] == steep["high"] == pytest.approx(100)
    assert 90 < steep["low"] < 99
