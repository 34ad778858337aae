"""The pictures of a comparison of methods: accuracy by cost, best-of-N, and the judge's honesty.

Rows are those of `standings`.
"""

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from expert_iter.measure.comparison.standings import ORACLE, Method, aggregate, label, labels
from expert_iter.measure.drawing import (
    LOOKS,
    MARGIN,
    SPARE_LOOKS,
    End,
    accuracy_axes,
    log_ticks,
    name_ends,
    picture,
)
from expert_iter.measure.tables import si

_COSTS = {"tokens": "tokens generated per problem", "flops": "model FLOPs per problem"}
_FORMATS = {"tokens": si, "flops": lambda flops: si(flops, "FLOP")}
_VIVID = [look for look in (*LOOKS.values(), *SPARE_LOOKS) if look[1]]  # that have a marker
_GREY = "#808080"
_COLOURED = 7  # methods drawn in colour where the caller names none
_LABEL_GAP = 0.034  # between two names, as a share of the height of the axes
_NAMED = 30  # more names than this do not fit beside the axes
_SIZE = (9.5, 6.5)  # inches
_PANEL = (2.3, 2.65)  # inches, width and height of one
_COLUMNS = 4


class _Line(NamedTuple):
    """How one method is drawn.

    points: of `aggregate`, the cheapest first. marker: empty for a line that is thin.
    """

    points: list[dict]
    name: str
    colour: str
    marker: str = ""
    style: str = "-"


def accuracy_against(
    rows: Sequence[dict], cost: str, path, highlight: Sequence[Method] | None = None
) -> None:
    """Draws every method's accuracy against its mean cost (log axis) to the PNG at `path`.

    Coloured methods have their 95% band, the others are thin and grey. Grey ones that lie wholly
    below all coloured ones are named under the picture instead, so that these can be told apart.
    Oracles are dotted, in the colour of their expert where that has one.

    Args:
        rows: of the comparison. Those with budgets in `cost` are drawn, or all if there are none.
        cost: "tokens" or "flops".
        highlight: methods (expert, readout) to colour, at most nine; without it the seven with the
            highest accuracy, averaged over all rows, so that pictures of both units agree.
    """
    names = labels(rows)
    looks = dict(zip(_vivid(rows, cost, highlight), _VIVID, strict=False))
    lines, below = [], []
    methods = _by_method([row for row in rows if row["unit"] == cost] or rows, cost)
    floor = min(
        (p["low"] for m, points in methods.items() if m in looks for p in points), default=0
    )
    for (expert, readout), points in methods.items():
        peak = max(point["accuracy"] for point in points)
        if readout == ORACLE:
            colours = [colour for (of, _), (colour, _) in looks.items() if of == expert]
            colour = colours[0] if colours else _GREY
            lines.append(_Line(points, label(expert, ORACLE), colour, style=":"))
        elif (expert, readout) not in looks and peak < floor:
            below.append((peak, names[expert, readout]))
        else:
            look = looks.get((expert, readout), (_GREY, ""))
            lines.append(_Line(points, names[expert, readout], *look))
    footnote = ", ".join(f"{name}: {peak:.0%}" for peak, name in sorted(below, reverse=True))
    footnote = footnote and f"Below the picture, at best: {footnote}."
    _draw(f"Accuracy by {_COSTS[cost]}", cost, lines, path, footnote=footnote)


def over_optimisation(rows: Sequence[dict], path, expert: str = "samples") -> None:
    """Draws accuracy against cost for every readout of best-of-N, to the PNG at `path`.

    A judge that is asked about more samples is also shown more that fool it, so that accuracy may
    fall again as N grows (Cobbe et al. 2021, "Training verifiers to solve math word problems";
    Gao et al. 2023, "Scaling laws for reward model overoptimization"). A ring marks the peak of a
    line that does, and the dotted oracle shows what there was to be found.

    Args:
        rows: of the comparison; those with budgets in tokens are drawn, or those in FLOPs.
        expert: the one that samples.
    """
    own = [row for row in rows if row["expert"] == expert]
    cost = "tokens" if any(row["unit"] == "tokens" for row in own) else "flops"
    methods = _by_method([row for row in own if row["unit"] == cost], cost)
    readouts = [readout for _, readout in methods if readout != ORACLE]
    looks = dict(zip(readouts, _VIVID, strict=False))
    lines = []
    for (_, readout), points in methods.items():
        if readout == ORACLE:
            lines.append(_Line(points, label(ORACLE), _GREY, style=":"))
        else:
            lines.append(_Line(points, label(readout), *looks.get(readout, (_GREY, ""))))
    _draw(f"Best of N by readout: {label(expert)}", cost, lines, path, rings=True)


def reliability_diagram(positions: Sequence[dict], path) -> None:
    """Draws one reliability diagram for each position, side by side, to the PNG at `path`.

    A dot is a bin of probabilities: how many of its solutions turned out right, against the mean
    that was promised. Its area grows with its share of the solutions. The dotted line is the
    base rate.

    Args:
        positions: what `calibration.by_position` returned.
    """
    columns = min(_COLUMNS, len(positions))
    lines = -(-len(positions) // columns)
    width, height = max(_PANEL[0] * columns + 0.6, 6), _PANEL[1] * lines + 1.1
    left, top = MARGIN / width, 1 - MARGIN / height
    with picture(path, (width, height), heading=0.65) as figure:
        title = "How often a probability comes true"
        figure.text(left, top, title, va="top", fontsize=13, fontweight="bold")
        note = "dots: bins, area by share of solutions; dotted: base rate"
        figure.text(left, top - 0.28 / height, note, va="top", color="#555555")
        panels = list(figure.subplots(lines, columns, squeeze=False).flat)
        for axes, position in zip(panels, positions, strict=False):
            _panel(axes, position)
        for axes in panels[len(positions) :]:
            axes.remove()
        figure.supxlabel("probability given", fontsize=10.5)
        figure.supylabel("share that is right", fontsize=10.5)


def _panel(axes, position: dict):
    bins, count, name = position["bins"], position["count"], position["position"]
    auc = "–" if np.isnan(position["auc"]) else f"{position['auc']:.2f}"
    name = label(name) if isinstance(name, str) else f"position {name}"
    axes.set_title(name, loc="left", fontweight="bold", fontsize=10, pad=27)
    axes.annotate(
        f"{si(count)} solutions, {position['base_rate']:.0%} right\n"
        f"ECE {position['ece']:.2f}  AUC {auc}  Brier {position['brier']:.2f}",
        (0, 1),
        (0, 5),
        "axes fraction",
        textcoords="offset points",
        color="#555555",
        fontsize=7.5,
    )
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=1)
    axes.axhline(position["base_rate"], color="#D55E00", linewidth=1, linestyle=":")
    axes.scatter(
        [bin["mean"] for bin in bins],
        [bin["share"] for bin in bins],
        [12 + 300 * bin["count"] / count for bin in bins],
        color="#0072B2",
        alpha=0.75,
        linewidth=0,
    )
    axes.set(xlim=(-0.06, 1.06), ylim=(-0.06, 1.06), aspect="equal")
    axes.set(xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])


def _vivid(rows, cost, highlight) -> list[Method]:
    """The methods to colour, in order of appearance."""
    means = {
        method: np.mean([point["accuracy"] for point in points])
        for method, points in _by_method(rows, cost).items()
        if method[1] != ORACLE
    }
    if highlight is None:
        highlight = sorted(means, key=means.get, reverse=True)[:_COLOURED]
    return [method for method in means if method in highlight]


def _by_method(rows, cost) -> dict[Method, list[dict]]:
    """The points of every method by their cost; methods in order of appearance."""
    methods = {}
    for point in aggregate(rows):
        methods.setdefault((point["expert"], point["readout"]), []).append(point)
    return {of: sorted(points, key=lambda point: point[cost]) for of, points in methods.items()}


def _draw(title, cost, lines: Sequence[_Line], path, rings=False, footnote=""):
    note = "bands: 95% interval over problems"
    if any(line.colour == _GREY and line.style == "-" for line in lines):
        note += "; grey: the other methods"
    if any(line.style == ":" for line in lines):
        note += "; dotted: pass@N, the verifier picks"
    if rings and any(line.marker and _peak(line) for line in lines):
        note += "; rings: a peak before the end"
    costs = [point[cost] for line in lines for point in line.points]
    with picture(path, _SIZE) as figure:
        axes = accuracy_axes(figure, title, note, _COSTS[cost])
        subs = (1, 2, 5) if max(costs) > 8 * min(costs) else (1, 1.5, 2, 3, 5, 7)
        log_ticks(axes, subs, _FORMATS[cost])
        if max(costs) < 2 * min(costs):  # else ticks would come so close that all read the same
            middle = (min(costs) * max(costs)) ** 0.5
            axes.set_xlim(middle / 2, middle * 2)
        for line in lines:
            _curve(axes, line, cost, rings)
        axes.margins(y=0.03)
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, 0), min(high, 1.01))
        if len(lines) > _NAMED:
            lines = [line for line in lines if line.colour != _GREY]
        name_ends(axes, [_end(line, cost) for line in lines], _LABEL_GAP)
        if footnote:
            figure.supxlabel(
                textwrap.fill(footnote, 120), x=0.02, ha="left", fontsize=8, color="#555555"
            )


def _curve(axes, line: _Line, cost: str, rings: bool):
    x, y, low, high = ([p[key] for p in line.points] for key in (cost, "accuracy", "low", "high"))
    if not line.marker:
        dot = "" if line.style == ":" and len(x) > 1 else "."
        style = {"linewidth": 1.1, "marker": dot, "markersize": 4, "zorder": 1.5}
        axes.plot(x, y, line.style, color=line.colour, **style)
        return
    axes.plot(x, y, color=line.colour, marker=line.marker, markersize=5, linewidth=1.8, zorder=3)
    axes.fill_between(x, low, high, color=line.colour, alpha=0.08, linewidth=0)
    if max(x) <= 1.01 * min(x):  # a band over a single x cannot be seen
        axes.vlines(x, low, high, color=line.colour, linewidth=1.2)
    peak = _peak(line)
    if rings and peak:
        ring = {"s": 120, "facecolors": "none", "edgecolors": line.colour, "linewidths": 1.2}
        axes.scatter(peak[cost], peak["accuracy"], zorder=4, **ring)


def _peak(line: _Line) -> dict | None:
    """The highest point of a line that ends lower."""
    peak = max(line.points, key=lambda point: point["accuracy"])
    return peak if peak["accuracy"] > line.points[-1]["accuracy"] else None


def _end(line: _Line, cost: str) -> End:
    x, y = line.points[-1][cost], line.points[-1]["accuracy"]
    return End(x, y, line.name, line.colour, 9.5 if line.marker else 8)
