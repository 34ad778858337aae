import csv
import io
import re

from expert_iter.measure.comparison.standings import (
    aggregate,
    paired,
    slope,
)
from expert_iter.measure.comparison.tables import to_csv, to_markdown
from tests.measure.comparison.standings_rows import row, text


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


def test_markdown_has_no_differences_to_a_baseline_that_is_not_there():
    assert "Difference" not in to_markdown(comparison(), ("beam", "best"))
