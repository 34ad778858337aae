import re

import pytest

from expert_iter.measure.tables import chronological, duration, label, si, terminal


def row(when, method, budget, accuracy, **costs):
    interval = {"accuracy": accuracy, "low": accuracy - 0.05, "high": accuracy + 0.05}
    return {"when": when, "method": method, "budget": budget, "problems": 256} | interval | costs


BILL = {"tokens": 1234.0, "prefill_tokens": 14, "flops": 3.5e7, "seconds": 6.4}
ROWS = [
    row("before", "greedy", 1, 0.07, **BILL),
    row("before", "pass_at_n", 16, 0.4, **BILL),
    row("before", "mcts", 64, 0.1, **BILL | {"tokens": 1}),
    row("after", "greedy", 1, 0.35, **BILL),
    row("after", "pass_at_n", 16, 0.9, **BILL),
    row("after", "mcts", 64, 0.6, **BILL),
]


def line_of(text, start):
    (line,) = [line for line in text.splitlines() if line.startswith(start)]
    return line


def test_terminal_puts_before_and_after_side_by_side_with_the_latest_bill():
    text = terminal(ROWS)
    assert text.splitlines()[0] == (
        "Accuracy in % (95% interval) on 256 problems; costs per problem, after."
    )
    assert line_of(text, "MCTS").split() == (
        "MCTS, 64 simulations 10.0 (5.0-15.0) -> 60.0 (55.0-65.0) 1.2k 14 35 MFLOP 25 ms".split()
    )
    assert line_of(text, "greedy").split()[1:5] == ["7.0", "(2.0-12.0)", "->", "35.0"]


def test_terminal_is_aligned():
    lines = terminal(ROWS).splitlines()
    header = line_of(terminal(ROWS), "method")
    for heading in ("tokens", "prefill", "compute", "time"):
        end = header.index(heading) + len(heading)
        for start in ("greedy", "MCTS", "pass@16"):
            line = line_of(terminal(ROWS), start)
            assert line[end - 1] != " " and line[end : end + 1] in (" ", "")
    arrows = {line.index("->") for line in lines if "->" in line}
    assert len(arrows) == 1


def test_oracles_stand_apart_whatever_their_place_in_the_rows():
    methods, heading, oracles = re.split(r"(.*verifier.*)", terminal(ROWS))
    assert "Oracle" in heading
    assert "greedy" in methods and "MCTS" in methods and "pass@" not in methods
    assert "pass@16" in oracles and "MCTS" not in oracles
    assert "verifier" not in terminal([r for r in ROWS if r["method"] != "pass_at_n"])


def test_a_single_time_needs_no_arrow_and_missing_cells_stay_empty():
    text = terminal([r for r in ROWS if r["when"] == "after"])
    assert "before" not in text and "->" not in text and "35.0 (30.0-40.0)" in text
    assert "costs per problem." in text

    partial = [row("after", "mcts", 8, 0.5), ROWS[0]]
    text = terminal(partial)
    assert "50.0 (45.0-55.0)" in text and "7.0 (2.0-12.0)" in text and "->" not in text
    assert text.index("before") < text.index("after", text.index("method"))
    assert terminal([]) == ""


def test_terminal_never_exceeds_100_columns():
    wide = [r | {"when": when} for r in ROWS for when in ("before", "round 10", "after")]
    wide += [row("after", "diverse_verifier_tree_search", 1024, 0.123, **BILL)]
    text = terminal(wide)
    assert max(map(len, text.splitlines())) <= 100
    assert "diverse verifier tree search, 1024" in text and "round 10" in text
    assert "compute" not in text


def test_a_missing_cost_is_a_dash():
    line = terminal([row("after", "greedy", 1, 0.5)]).splitlines()[-1]
    assert line.split()[-4:] == ["-"] * 4


def test_a_later_row_replaces_an_earlier_one():
    text = terminal([*ROWS, row("after", "greedy", 1, 0.45, **BILL)])
    assert "45.0 (40.0-50.0)" in line_of(text, "greedy") and "35.0 (" not in text


def test_times_are_in_order_with_before_first():
    assert chronological(["after", "before", "later", "after"]) == ["before", "after", "later"]


def test_labels():
    assert label("greedy", 1) == "greedy"
    assert label("best_of_n", 16) == "best of 16 by value"
    assert label("step_beam", 4) == "step beam, 4"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (7, "7"),
        (2.54, "2.5"),
        (9.96, "10"),
        (999.4, "999"),
        (999.6, "1.0k"),
        (1234, "1.2k"),
    ]
    + [(34_560, "35k"), (3.4e8, "340M"), (2e13, "20T"), (5e21, "5000E")],
)
def test_si(number, text):
    assert si(number) == text


def test_si_with_a_unit():
    assert si(3.5e7, "FLOP") == "35 MFLOP"
    assert si(12, "s") == "12 s"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0004, "0.4 ms"), (0.035, "35 ms"), (0.9996, "1.0 s"), (2.54, "2.5 s"), (59.4, "59 s")]
    + [(59.6, "1m00s"), (125, "2m05s"), (3599.6, "1h00m"), (3725, "1h02m")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text
