"""The two pictures of a run: accuracy by round, and accuracy by test-time compute.

Each method keeps its colour in both. The colours are those of Okabe & Ito (2008), which people
with any common colour blindness can tell apart; the marker says the same once more. Figures are
made without pyplot, so that no display, backend or global state is involved.
"""

import itertools
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, PercentFormatter
from PIL import Image

from expert_iter.measure.tables import ORACLES, chronological, label, si

_LOOKS = {  # colour, marker
    "greedy": ("#000000", "o"),
    "majority": ("#56B4E9", "s"),
    "value_vote": ("#009E73", "^"),
    "best_of_n": ("#D55E00", "D"),
    "mcts": ("#0072B2", "o"),
    "pass_at_n": ("#777777", ""),
}
_SPARE_LOOKS = (("#CC79A7", "v"), ("#E69F00", "P"), ("#882255", "X"), ("#999933", "<"))
_NAMES = {
    "majority": "majority vote",
    "value_vote": "value vote",
    "best_of_n": "best of N by value",
    "mcts": "MCTS",
    "pass_at_n": "oracle",
}
_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "axes.edgecolor": "#666666",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
}
_TIMES = {"before": "before training", "after": "after training"}
_BANDS = "bands: 95% interval"
_SIZE, _DPI = (8, 5), 120  # inches, dots per inch
_MARGIN = 0.12  # inches
_LABEL_GAP = 0.055  # between two labels, as a share of the height of the axes


def accuracy_by_round(rows: Sequence[dict], path) -> None:
    """Draws one line a method over the rounds, with its interval as a band, to the PNG at `path`.

    Args:
        rows: dicts of `round` (0: the warm start), `method`, `accuracy`, `low`, `high`, and also
            `budget` where a method is there with several.
    """
    with matplotlib.rc_context(_STYLE):
        figure, axes = _canvas("Accuracy on held-out problems after each round", _BANDS)
        axes.set_xlabel("round of search and training")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:.0f}" if x else "warm\nstart")
        looks, ends = _looks(rows), []
        for (method, budget), points in _grouped(rows, "method", "budget"):
            x, y = _curve(axes, points, "round", looks[method], "-")
            is_plain = budget is None or method in ORACLES
            name = _name(method) if is_plain else label(method, budget)
            ends.append((x, y, name, looks[method][0]))
        _save(figure, axes, rows, ends, path)


def accuracy_by_compute(rows: Sequence[dict], path) -> None:
    """Draws accuracy against tokens generated per problem, a colour a method, to the PNG at `path`.

    The latest time is solid, earlier ones are dashed; a method with one budget is a point.

    Args:
        rows: at least one evaluation row as in `tables`; only the latest oracle rows are drawn.
    """
    *earlier, latest = chronological(row["when"] for row in rows)
    note = f"solid: {_TIMES.get(latest, latest)}, " if earlier else ""
    note += "".join(f"dashed: {_TIMES.get(when, when)}, " for when in earlier)
    with matplotlib.rc_context(_STYLE):
        figure, axes = _canvas("Accuracy on held-out problems by test-time compute", note + _BANDS)
        axes.set_xlabel("tokens generated per problem")
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(lambda x, _: si(x))
        axes.xaxis.set_minor_locator(NullLocator())
        looks, ends = _looks(rows), []
        drawn = [row for row in rows if row["method"] not in ORACLES or row["when"] == latest]
        for (method, when), points in _grouped(drawn, "method", "when"):
            is_latest = when == latest
            x, y = _curve(axes, points, "tokens", looks[method], "-" if is_latest else "--")
            if is_latest:
                ends.append((x, y, _name(method), looks[method][0]))
        _save(figure, axes, drawn, ends, path)


def _grouped(rows, *keys):
    groups = {}
    for row in rows:
        groups.setdefault(tuple(row.get(key) for key in keys), []).append(row)
    return groups.items()


def _name(method: str) -> str:
    return _NAMES.get(method, method.replace("_", " "))


def _looks(rows: Sequence[dict]) -> dict[str, tuple[str, str]]:
    """Colour and marker of every method; those without their own share the spare ones."""
    looks = dict(_LOOKS)
    strangers = dict.fromkeys(row["method"] for row in rows if row["method"] not in _LOOKS)
    return looks | dict(zip(strangers, itertools.cycle(_SPARE_LOOKS), strict=False))


def _canvas(title: str, note: str):
    layout = ConstrainedLayoutEngine(w_pad=_MARGIN, h_pad=_MARGIN)
    figure = Figure(figsize=_SIZE, dpi=_DPI, facecolor="white", layout=layout)
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontsize=13, fontweight="bold", pad=26)
    axes.annotate(
        note, (0, 1), (0, 9), "axes fraction", textcoords="offset points", color="#555555"
    )
    axes.set_ylabel("problems solved")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return figure, axes


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


def _label_ends(axes, ends):
    """Writes names right of the axes, each as near the height of its line's end as room allows."""
    top = axes.get_ylim()[1]
    ends = sorted(ends, key=lambda end: end[1])
    heights = _spread([y / top for _, y, _, _ in ends], _LABEL_GAP)
    for (x, y, name, colour), height in zip(ends, heights, strict=True):
        axes.annotate(
            name,
            xy=(x, y),
            xytext=(1.035, height),
            textcoords="axes fraction",
            color=colour,
            va="center",
            arrowprops={"arrowstyle": "-", "color": colour, "alpha": 0.3, "linewidth": 0.8},
        )


def _save(figure, axes, rows, ends, path):
    shown = [row["accuracy" if row["method"] in ORACLES else "high"] for row in rows]
    axes.set_ylim(0, max([0.05, *(1.05 * height for height in shown)]))
    _label_ends(axes, ends)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    # A palette makes the file a third of the size, which matters in a repository.
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(256)
    picture.save(path, format="PNG", optimize=True, dpi=(_DPI, _DPI))


def _spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Positions at least `gap` apart and nearest (least squares) to the sorted `wanted`, in [0, 1].

    With i * gap subtracted the task is isotonic regression, solved by pooling adjacent violators.
    """
    pools = []  # (mean, size) of neighbours that had to be pushed apart
    for i, position in enumerate(wanted):
        mean, size = position - i * gap, 1
        while pools and pools[-1][0] > mean:
            other, others = pools.pop()
            mean, size = (mean * size + other * others) / (size + others), size + others
        pools.append((mean, size))
    level = np.repeat([mean for mean, _ in pools], [size for _, size in pools])
    room = max(1 - gap * (len(wanted) - 1), 0)
    return list(np.clip(level, 0, room) + gap * np.arange(len(wanted)))
