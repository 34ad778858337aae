import csv
import io
import itertools
import re

import numpy as np
import pytest

from expert_iter.errors import UserError
from expert_iter.measure.bootstrap import interval, paired_difference
from expert_iter.measure.standings import (
    aggregate,
    best_at,
    label,
    labels,
    paired,
    slope,
    to_csv,
    to_markdown,
)


def row(expert, readout, budget, correct, seed=0, unit="tokens", **costs):
    accuracy, low, high = interval([int(verdict) for verdict in correct])
    scores = {"accuracy": accuracy, "low": low, "high": high}
    bill = {"tokens": float(budget), "prefill_tokens": 9.0, "flops": 5e5 * budget, "seconds": 0.8}
    if unit == "flops":
        bill |= {"tokens": budget / 5e5, "flops": float(budget)}
    key = {"expert": expert, "readout": readout, "unit": unit, "budget": budget, "seed": seed}
    return key | scores | bill | costs | {"problems": len(correct), "correct": correct}


def text(right, n=200):
    """Verdicts on n problems, the first of which are right."""
    return "1" * right + "0" * (n - right)


def drawn(rng, p, n=200):
    return "".join(map(str, (rng.random(n) < p).astype(int)))


def array(*texts):
    return np.array([[int(verdict) for verdict in correct] for correct in texts])


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
        "unit": "tokens",
        "budget": 8,
        "expert": "mcts",
        "readout": "best",
        "difference": difference,
        "low": low,
        "high": high,
        "accuracy": pytest.approx(ours.mean()),
        "baseline_accuracy": pytest.approx(theirs.mean()),
        "cost": 9.0,
        "baseline_cost": 10.0,
        "seeds": 1,
    }
    ours, theirs = (array(*(texts[e, 16, s] for s in range(3))) for e in ("mcts", "samples"))
    expected = paired_difference(ours, theirs)
    assert (at_16["difference"], at_16["low"], at_16["high"]) == pytest.approx(expected)
    assert (at_16["budget"], at_16["seeds"]) == (16, 3)
    (other_unit,) = paired(rows, "flops", ("samples", "best"))
    assert other_unit["difference"] == 0 and other_unit["low"] < 0 < other_unit["high"]


def test_paired_knows_only_baselines_that_answer_by_themselves():
    rows = [row("samples", "oracle", 8, "10"), row("mcts", "best", 8, "10")]
    for baseline, unit in (
        (("samples", "oracle"), "tokens"),
        (("beam", "best"), "tokens"),
        (("mcts", "best"), "flops"),
    ):
        with pytest.raises(UserError, match="/".join(baseline)):
            paired(rows, unit, baseline)


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
    low, high = best_at(rows, "tokens")
    assert low == {"budget": 8, "expert": "far", "readout": "best", "accuracy": 0.45, "level": []}
    assert (high["budget"], high["expert"], high["accuracy"]) == (16, "top", 0.75)
    assert high["level"] == [("close", "best"), ("other", "best")]
    assert best_at(rows, "flops") == []


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


def test_csv_says_all_of_every_row():
    rows = [row("mcts", "best", 8, "011", note="a, b"), row("greedy", "best", 8, "000")]
    lines = to_csv(rows).split("\n")
    assert len(lines) == 4 and lines[-1] == ""
    assert lines[0].startswith("expert,readout,unit,budget,seed,accuracy,low,high,tokens")
    assert lines[0].endswith(",note,problems,correct")
    first, second = csv.DictReader(io.StringIO(to_csv(rows)))
    assert first == {key: str(value) for key, value in rows[0].items()}
    assert second == {key: str(value) for key, value in rows[1].items()} | {"note": ""}


def comparison():
    rows = [row("samples", "oracle", 8, text(190), seed) for seed in (0, 1)]
    rows += [
        row("samples", "value", budget, text(right), seed)
        for budget, rights in ((8, (100, 120)), (16, (140, 142)))
        for seed, right in enumerate(rights)
    ]
    rows += [row("samples", "min", 8, text(60), seed) for seed in (0, 1)]
    rows += [
        row("tree_search", "best", budget, text(140), seed, tokens=budget * 1.5)
        for budget in (8, 16)
        for seed in (0, 1)
    ]
    rows += [row("tree_search", "best", b, text(150), unit="flops") for b in (2e6, 4e6)]
    return rows


def sections(markdown):
    """The table (a list of lines, each a list of cells) under every paragraph before it."""
    tables, caption = {}, None
    for paragraph in markdown.strip().split("\n\n"):
        if paragraph.startswith("|"):
            lines = paragraph.split("\n")
            assert len({len(line) for line in lines}) == 1  # aligned
            assert re.fullmatch(r"\| :-+( \| -+:)* \|", lines[1])
            cells = [[cell.strip() for cell in line[1:-1].split(" | ")] for line in lines]
            tables.setdefault(caption, [cells[0], *cells[2:]])
        else:
            assert max(map(len, paragraph.split("\n"))) <= 100
            caption = " ".join(paragraph.split())
    return tables


def test_markdown_shows_what_the_functions_say():
    rows = comparison()
    tokens, flops = to_markdown(rows, ("samples", "value")).split("### Equal model FLOPs")
    assert tokens.startswith("### Equal generated tokens\n")
    accuracy, seeds, costs, slopes, pairs, oracle = sections(tokens).items()

    assert "on 200 problems, mean over 2 seeds" in accuracy[0]
    assert accuracy[0].endswith("named: value (samples); best (tree search).")
    assert [line[0] for line in accuracy[1]] == [
        "method",
        "samples",
        "samples (min)",
        "tree search",
    ]
    assert accuracy[1][0][1:] == ["8 tokens", "16 tokens"]
    cell = aggregate(rows)[1]
    assert accuracy[1][1][1] == f"55.0 ({100 * cell['low']:.1f}–{100 * cell['high']:.1f})"
    assert accuracy[1][1][2].startswith("**70.5** (")  # the best at 16
    assert accuracy[1][2][2] == "–"  # `min` has no row at 16
    # 70.0 at both: the best at 8, and at 16 one problem of 200 from the best.
    assert accuracy[1][3][1].startswith("**70.0** (") and "**" in accuracy[1][3][2]

    assert seeds[1][1] == ["samples", "50.0–60.0", "70.0–71.0"]

    assert costs[1][0] == ["method", "budget", "tokens", "prefill", "compute", "ms"]
    assert costs[1][1:] == [  # neither `min` nor the oracle costs other than the first readout
        ["samples", "8 tokens", "8", "9", "4 MFLOP", "4.0"],
        ["samples", "16 tokens", "16", "9", "8 MFLOP", "4.0"],
        ["tree search", "8 tokens", "12", "9", "4 MFLOP", "4.0"],
        ["tree search", "16 tokens", "24", "9", "8 MFLOP", "4.0"],
    ]

    line = slope(rows, "samples", "value", "tokens")
    shown = f"+15.5 (+{line['low']:.1f} to +{line['high']:.1f})"
    assert slopes[1][1] == ["samples", shown, "1.0"]
    assert [cells[0] for cells in slopes[1][1:]] == ["samples", "tree search"]

    assert "Difference to samples (value) in" in pairs[0]
    pair = paired(rows, "tokens", ("samples", "value"))[0]
    points = [f"{100 * pair[key]:.1f}".replace("-", "−") for key in ("low", "high")]
    assert pairs[1][1][1] == f"−25.0 ({points[0]} to {points[1]}), ×1.00"
    assert pairs[1][2][1].startswith("+15.0 (") and pairs[1][2][1].endswith(", ×1.50")

    assert "#### Oracle" in tokens.split("pass@N")[0]
    assert [line[0] for line in oracle[1]] == ["method", "samples"]
    assert oracle[1][1][1].startswith("95.0 (")
    assert "95.0" not in tokens.split("#### Oracle")[0]

    # At equal FLOPs there is neither the baseline nor an oracle, and one seed only.
    assert len(sections(flops)) == 3 and "Difference" not in flops and "Oracle" not in flops
    assert "on 200 problems, 1 seed." in " ".join(flops.split())
    assert "2 MFLOP" in flops


def test_markdown_shows_a_readout_that_costs_more_by_itself():
    rows = comparison() + [row("samples", "judge", 8, text(99), tokens=80.0)]
    rows += [row("tree_search", "oracle", 8, text(199), tokens=70.0)]
    costs = [
        line for line in to_markdown(rows, ("samples", "value")).split("\n") if "MFLOP" in line
    ]
    cells = [[cell.strip() for cell in line[1:-1].split("|")][:3] for line in costs]
    assert ["samples (judge)", "8 tokens", "80"] in cells
    assert ["tree search (oracle)", "8 tokens", "70"] in cells


def test_markdown_refuses_a_baseline_that_is_not_there():
    with pytest.raises(UserError, match="beam/best.*samples/value, samples/min, tree_search/best"):
        to_markdown(comparison(), ("beam", "best"))
