"""The two pictures of a run: accuracy by round, and accuracy by test-time compute.

Each method keeps its colour in both.
"""

import itertools
from collections.abc import Sequence

from matplotlib.ticker import MaxNLocator

from expert_iter.measure.drawing import (
    LOOKS,
    SPARE_LOOKS,
    End,
    accuracy_axes,
    log_ticks,
    name_ends,
    picture,
)
from expert_iter.measure.tables import ORACLES, chronological, label, si

_NAMES = {
    "majority": "majority vote",
    "value_vote": "value vote",
    "best_of_n": "best of N by value",
    "mcts": "MCTS",
    "pass_at_n": "oracle",
}
_TIMES = {"before": "before training", "after": "after training"}
_BANDS = "bands: 95% interval"
_SIZE = (8, 5)  # inches
_LABEL_GAP = 0.055  # between two labels, as a share of the height of the axes


def accuracy_by_round(rows: Sequence[dict], path) -> None:
    """Draws one line a method over the rounds, with its interval as a band, to the PNG at `path`.

    Args:
        rows: dicts of `round` (0: the warm start), `method`, `accuracy`, `low`, `high`, and also
            `budget` where a method is there with several.
    """
    title = "Accuracy on held-out problems after each round"
    with picture(path, _SIZE) as figure:
        axes = accuracy_axes(figure, title, _BANDS, "round of search and training")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:.0f}" if x else "warm\nstart")
        looks, ends = _looks(rows), []
        for (method, budget), points in _grouped(rows, "method", "budget"):
            x, y = _curve(axes, points, "round", looks[method], "-")
            is_plain = budget is None or method in ORACLES
            name = _name(method) if is_plain else label(method, budget)
            ends.append(End(x, y, name, looks[method][0]))
        _finish(axes, rows, ends)


def accuracy_by_compute(rows: Sequence[dict], path) -> None:
    """Draws accuracy against tokens generated per problem, a colour a method, to the PNG at `path`.

    The latest time is solid, earlier ones are dashed; a method with one budget is a point.

    Args:
        rows: at least one evaluation row as in `tables`; only the latest oracle rows are drawn.
    """
    *earlier, latest = chronological(row["when"] for row in rows)
    note = f"solid: {_TIMES.get(latest, latest)}, " if earlier else ""
    note += "".join(f"dashed: {_TIMES.get(when, when)}, " for when in earlier)
    title = "Accuracy on held-out problems by test-time compute"
    with picture(path, _SIZE) as figure:
        axes = accuracy_axes(figure, title, note + _BANDS, "tokens generated per problem")
        log_ticks(axes, (1, 2, 5), si)
        looks, ends = _looks(rows), []
        drawn = [row for row in rows if row["method"] not in ORACLES or row["when"] == latest]
        for (method, when), points in _grouped(drawn, "method", "when"):
            is_latest = when == latest
            x, y = _curve(axes, points, "tokens", looks[method], "-" if is_latest else "--")
            if is_latest:
                ends.append(End(x, y, _name(method), looks[method][0]))
        _finish(axes, drawn, ends)


def _grouped(rows, *keys):
    groups = {}
    for row in rows:
        groups.setdefault(tuple(row.get(key) for key in keys), []).append(row)
    return groups.items()


def _name(method: str) -> str:
    return _NAMES.get(method, method.replace("_", " "))


def _looks(rows: Sequence[dict]) -> dict[str, tuple[str, str]]:
    """Colour and marker of every method; those without their own share the spare ones."""
    strangers = dict.fromkeys(row["method"] for row in rows if row["method"] not in LOOKS)
    return LOOKS | dict(zip(strangers, itertools.cycle(SPARE_LOOKS), strict=False))


def _curve(axes, points, x_key, look, line):
    """Draws one method and its interval. Returns where its line ends."""
    colour, marker = look
    points = sorted(points, key=lambda row: row[x_key])
    x, y, low, high = ([row[key] for row in points] for key in (x_key, "accuracy", "low", "high"))
    if points[0]["method"] in ORACLES:
        axes.plot(x, y, ":", color=colour, linewidth=1.2)
    else:
        fill = "white" if line == "--" else colour
        style = {"color": colour, "marker": marker, "markersize": 5, "markerfacecolor": fill}
        axes.plot(x, y, line, linewidth=1.8, **style)
        axes.fill_between(x, low, high, color=colour, alpha=0.1, linewidth=0)
        if len(x) == 1:  # a band over a single x cannot be seen
            axes.vlines(x, low, high, color=colour, linewidth=1.2, linestyle=line)
    return x[-1], y[-1]


def _finish(axes, rows, ends: list[End]):
    shown = [row["accuracy" if row["method"] in ORACLES else "high"] for row in rows]
    axes.set_ylim(0, max([0.05, *(1.05 * height for height in shown)]))
    name_ends(axes, ends, _LABEL_GAP)
