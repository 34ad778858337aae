"""Tables of a comparison: Markdown for people, CSV for programs. See `standings` for the rows."""

import csv
import io
import textwrap
from collections.abc import Iterable, Sequence

from expert_iter.measure import tables
from expert_iter.measure.comparison.standings import (
    ORACLE,
    UNITS,
    Method,
    aggregate,
    best_at,
    first_readouts,
    label,
    labels,
    paired,
    slope,
)


def to_csv(rows: Sequence[dict]) -> str:
    """The rows as CSV: a header, then one line a row with all fields, `correct` last.

    A field that a row lacks is empty. Read `correct` as text, or its leading zeros are lost.
    """
    fields = dict.fromkeys(field for row in rows for field in row if field != "correct")
    text = io.StringIO()
    writer = csv.DictWriter(text, [*fields, "correct"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def to_markdown(rows: Sequence[dict], baseline: Method) -> str:
    """The whole comparison as Markdown tables, aligned so that the raw text can be read too.

    For each unit: accuracies (and their range over seeds), costs, slopes, differences to the
    baseline where it has rows of this unit, and under their own heading the oracles.
    """
    units = dict.fromkeys(row["unit"] for row in rows)
    return "\n\n".join(part for unit in units for part in _section(rows, unit, baseline)) + "\n"


def _section(rows, unit, baseline) -> list[str]:
    names, unsaid = labels(rows), first_readouts(rows)
    here = [row for row in rows if row["unit"] == unit]
    cells = aggregate(here)
    judged = [cell for cell in cells if cell["readout"] != ORACLE]
    oracles = [cell for cell in cells if cell["readout"] == ORACLE]
    parts = [f"### Equal {UNITS[unit]}"]
    if judged:
        parts += _accuracies(here, judged, names, unsaid, unit)
    parts += _costs(cells, names, unit)
    if judged:
        parts += _slopes(here, judged, names, unit)
    parts += _differences(here, names, unit, baseline)
    if oracles:
        parts += [
            f"#### Oracle, equal {UNITS[unit]}",
            _caption(
                "pass@N in % (95% interval over problems): the verifier picks the answer, which "
                "the network cannot do by itself."
            ),
            _by_budget(oracles, names, unit, _percent),
        ]
    return parts


def _accuracies(rows, judged, names, unsaid, unit) -> list[str]:
    best = best_at(rows, unit)
    experts_of = {}
    for expert, readout in unsaid.items():
        experts_of.setdefault(label(readout), []).append(label(expert))
    readouts = "; ".join(f"{key} ({', '.join(experts_of[key])})" for key in experts_of)
    seeds = _span(cell["seeds"] for cell in judged)
    over = "1 seed" if seeds == "1" else f"mean over {seeds} seeds"
    parts = [
        _caption(
            f"Accuracy in % (95% interval over problems) on {_span(c['problems'] for c in judged)} "
            f"problems, {over}. Bold: the best at a budget, and those not significantly worse on "
            f"the same problems. Readouts where none is named: {readouts}."
        ),
        _by_budget(
            judged,
            names,
            unit,
            lambda c: _percent(c, (c["expert"], c["readout"]) in best[c["budget"]]),
        ),
    ]
    if seeds != "1":
        parts += [
            "Lowest to highest accuracy of a single seed, in %:",
            _by_budget(
                judged,
                names,
                unit,
                lambda c: f"{100 * c['seed_low']:.1f}–{100 * c['seed_high']:.1f}",
            ),
        ]
    return parts


def _costs(cells, names, unit) -> list[str]:
    lines = {}
    for cell in sorted(cells, key=lambda cell: cell["readout"] == ORACLE):
        bill = (
            f"{cell['tokens']:,.0f}",
            f"{cell['prefill_tokens']:,.0f}",
            tables.si(cell["flops"], "FLOP"),
            f"{1000 * cell['seconds_per_problem']:,.1f}",
        )
        # Readouts pick from the same solutions: most cost what the expert's first one does.
        lines.setdefault((cell["expert"], _budget(cell["budget"], unit), bill), cell)
    names = names | {(expert, ORACLE): label(expert, ORACLE) for expert, _ in names}
    order = {method: i for i, method in enumerate(names)}
    shown = sorted(
        lines.items(),
        key=lambda item: (order[item[1]["expert"], item[1]["readout"]], item[1]["budget"]),
    )
    return [
        "Mean costs per problem. Readouts of an expert that cost the same share a line.",
        _table(
            ["method", "budget", "tokens", "prefill", "compute", "ms"],
            [
                [names[cell["expert"], cell["readout"]], budget, *bill]
                for (_, budget, bill), cell in shown
            ],
        ),
    ]


def _slopes(rows, judged, names, unit) -> list[str]:
    lines = []
    for method in dict.fromkeys((cell["expert"], cell["readout"]) for cell in judged):
        line = slope(rows, *method, unit)
        if line is not None:
            points = _signed(line["slope"], line["low"], line["high"])
            lines.append([names[method], points, f"{line['doublings']:.1f}"])
    if not lines:
        return []
    caption = (
        f"Percentage points of accuracy per doubling of {UNITS[unit]} (95% interval over "
        "problems), where the budgets make a method's cost differ:"
    )
    return [_caption(caption), _table(["method", "points per doubling", "over doublings"], lines)]


def _differences(rows, names, unit, baseline) -> list[str]:
    pairs = paired(rows, unit, baseline)
    if not pairs:
        return []

    def text(pair):
        points = _signed(*(100 * pair[key] for key in ("difference", "low", "high")))
        return f"{points}, ×{pair['relative_cost']:.2f}"

    return [
        _caption(
            f"Difference to {label(*baseline)} in percentage points (95% interval, paired over "
            "problems; seeds that both have). An interval without 0 is significant by itself; it "
            "allows neither for the number of comparisons nor for other seeds. "
            f"×: {UNITS[unit]} relative to {label(*baseline)}."
        ),
        _by_budget(pairs, names, unit, text),
    ]


def _by_budget(cells, names, unit, text) -> str:
    """A table of methods by budgets. `cells` are dicts of expert, readout and budget, and `text`
    says what a reader sees of one.
    """
    budgets = sorted({cell["budget"] for cell in cells})
    lines = {}
    for cell in cells:
        line = lines.setdefault((cell["expert"], cell["readout"]), ["–"] * len(budgets))
        line[budgets.index(cell["budget"])] = text(cell)
    return _table(
        ["method", *(_budget(budget, unit) for budget in budgets)],
        [[names[method], *lines[method]] for method in names if method in lines],
    )


def _caption(text: str) -> str:
    return textwrap.fill(text, tables.TERMINAL_WIDTH)


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table with its cells padded: the first column to the left, others to the right."""
    widths = [max(3, *map(len, column)) for column in zip(header, *lines, strict=True)]
    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    padded = [
        [cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])]
        for cells in (header, rule, *lines)
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in padded)


def _budget(budget: float, unit: str) -> str:
    return tables.si(budget, "FLOP") if unit == "flops" else f"{budget:,.0f} tokens"


def _percent(cell: dict, bold: bool = False) -> str:
    mean, low, high = (f"{100 * cell[key]:.1f}" for key in ("accuracy", "low", "high"))
    return f"{f'**{mean}**' if bold else mean} ({low}–{high})"


def _signed(mean: float, low: float, high: float) -> str:
    text = f"{mean:+.1f} ({low:+.1f} to {high:+.1f})".replace("-", "−")
    return text.replace("+0.0", "0.0").replace("−0.0", "0.0")


def _span(numbers: Iterable[int]) -> str:
    distinct = sorted(set(numbers))
    return "–".join(str(number) for number in dict.fromkeys([distinct[0], distinct[-1]]))
