"""Evaluation results as a table: aligned text for the terminal.

An evaluation row is a plain dict, as kept in `summary.json`:

    when        "before", "after" or any other word; each gets a column of accuracies
    method      "greedy", "majority", "value_vote", "best_of_n", "mcts", "pass_at_n" or another
    budget      samples or simulations
    accuracy    share of problems solved, in [0, 1]; `low` and `high` are its 95% interval
    problems    how many were tried
    tokens      generated per problem; `prefill_tokens` likewise
    flops       of policy and value together, per problem
    seconds     wall time for all problems

The costs may be missing. `pass_at_n` asks the verifier which sample is right. No network can do
that by itself, so it never stands among the accuracies but apart.
"""

from collections.abc import Iterable, Sequence

ORACLES = frozenset({"pass_at_n"})
COSTS = {"tokens": "tokens", "prefill_tokens": "prefill", "flops": "compute", "seconds": "time"}
TERMINAL_WIDTH = 100

_LABELS = {
    "greedy": "greedy",
    "majority": "majority of {}",
    "value_vote": "value vote of {}",
    "best_of_n": "best of {} by value",
    "mcts": "MCTS, {} simulations",
    "pass_at_n": "pass@{}",
}
_ORACLE_NOTE = "Oracle (the verifier picks the answer, which the network cannot do by itself):"


def label(method: str, budget: int) -> str:
    """What a reader calls a method at a budget: ("best_of_n", 16) is "best of 16 by value"."""
    text = _LABELS.get(method, method.replace("_", " ") + ", {}").format(budget)
    return text.replace("1 simulations", "1 simulation") if budget == 1 else text


def chronological(whens: Iterable[str]) -> list[str]:
    """Distinct times in order of appearance, but "before" always first."""
    return sorted(dict.fromkeys(whens), key=lambda when: when != "before")


def si(number: float, unit: str = "") -> str:
    """A number >= 0 in two or three digits with its SI prefix: "1.2k"; with a unit "35 MFLOP"."""
    scaled = number
    for prefix in ("", "k", "M", "G", "T", "P", "E"):
        if scaled < 999.5 or prefix == "E":
            break
        scaled /= 1000
    digits = f"{scaled:.0f}" if scaled >= 9.95 or scaled == int(scaled) else f"{scaled:.1f}"
    return f"{digits} {prefix}{unit}" if unit else digits + prefix


def duration(seconds: float) -> str:
    """A time in the unit that suits it: "35 ms", "2.5 s", "2m05s", "1h02m"."""
    if seconds < 0.9995:
        return si(seconds * 1000, "ms")
    if seconds < 59.5:
        return si(seconds, "s")
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


def terminal(rows: Sequence[dict]) -> str:
    """The rows as aligned text: one line a method and budget, its times side by side.

    It is at most 100 columns wide: where many times leave no room, cost columns give way. Oracle
    rows come last under their own heading.

    Args:
        rows: evaluation rows; of two with the same time, method and budget the later one counts.
    """
    if not rows:
        return ""
    for kept in range(len(COSTS), -1, -1):
        text = _aligned(rows, list(COSTS)[:kept])
        if max(map(len, text.splitlines())) <= TERMINAL_WIDTH:
            break
    return text


def _aligned(rows: Sequence[dict], costs: Sequence[str]) -> str:
    header, judged, oracle = _cells(rows, costs)
    widths = [max(map(len, column)) for column in zip(header, *judged, *oracle, strict=True)]
    last_time = len(_times(rows))

    def line(cells):
        text = cells[0].ljust(widths[0])
        for i, (cell, width) in enumerate(zip(cells[1:], widths[1:], strict=True), 1):
            changes = 1 < i <= last_time
            arrow = cells is not header and cells[i - 1] and cell
            text += (" -> " if arrow else "    ") if changes else "  "
            text += cell.center(width) if cells is header and i <= last_time else cell.rjust(width)
        return text.rstrip()

    blocks = [_caption(rows, costs), "\n".join(map(line, [header, *judged]))]
    if oracle:
        blocks.append("\n".join([_ORACLE_NOTE, *map(line, oracle)]))
    return "\n\n".join(blocks)


def _times(rows: Sequence[dict]) -> list[str]:
    return chronological(row["when"] for row in rows)


def _caption(rows: Sequence[dict], costs: Sequence[str]) -> str:
    problems = " or ".join(f"{n:,}" for n in sorted({row["problems"] for row in rows}))
    text = f"Accuracy in % (95% interval) on {problems} problems"
    if costs:
        *earlier, latest = _times(rows)
        text += "; costs per problem" + (f", {latest}" if earlier else "")
    return text + "."


def _cells(rows: Sequence[dict], costs: Sequence[str]) -> tuple[list, list, list]:
    """Header, lines of the methods and lines of the oracles, each line a list of cells."""
    times, groups = _times(rows), {}
    for row in rows:
        groups.setdefault((row["method"], row["budget"]), {})[row["when"]] = row
    judged, oracle = [], []
    for (method, budget), at in groups.items():
        accuracies = [_accuracy(at[when]) if when in at else "" for when in times]
        latest = at[[when for when in times if when in at][-1]]
        line = [label(method, budget), *accuracies, *(_cost(latest, cost) for cost in costs)]
        (oracle if method in ORACLES else judged).append(line)
    return ["method", *times, *(COSTS[cost] for cost in costs)], judged, oracle


def _accuracy(row: dict) -> str:
    interval = f"({100 * row['low']:.1f}-{100 * row['high']:.1f})"
    return f"{100 * row['accuracy']:5.1f} {interval:<12}"


def _cost(row: dict, column: str) -> str:
    if row.get(column) is None:
        return "-"
    if column == "seconds":
        return duration(row[column] / row["problems"])
    return si(row[column], "FLOP" if column == "flops" else "")
