"""What all pictures share: looks, figures, axes of accuracies, names beside the ends of lines.

The colours are those of Okabe & Ito (2008), which people with any common colour blindness can tell
apart; the marker says the same once more. Figures are made without pyplot, so that no display,
backend or global state is involved.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator, NullLocator, PercentFormatter
from PIL import Image

LOOKS = {  # colour, marker
    "greedy": ("#000000", "o"),
    "majority": ("#56B4E9", "s"),
    "value_vote": ("#009E73", "^"),
    "best_of_n": ("#D55E00", "D"),
    "mcts": ("#0072B2", "o"),
    "pass_at_n": ("#777777", ""),
}
SPARE_LOOKS = (("#CC79A7", "v"), ("#E69F00", "P"), ("#882255", "X"), ("#999933", "<"))
MARGIN = 0.12  # inches
_DPI = 120
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


class End(NamedTuple):
    """Where the line of a method ends, and what is written beside it."""

    x: float
    y: float
    name: str
    colour: str
    fontsize: float = 10.5


@contextlib.contextmanager
def picture(path, size: tuple[float, float], heading: float = 0) -> Iterator[Figure]:
    """A figure to draw in, which becomes the PNG at `path`.

    Args:
      size: width and height in inches.
      heading: inches that the layout leaves free at the top.
    """
    layout = ConstrainedLayoutEngine(
        w_pad=MARGIN, h_pad=MARGIN, rect=(0, 0, 1, 1 - heading / size[1])
    )
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size, dpi=_DPI, facecolor="white", layout=layout)
        yield figure
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    # A palette makes the file a third of the size, which matters in a repository.
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(256)
    image.save(path, format="PNG", optimize=True, dpi=(_DPI, _DPI))


def accuracy_axes(figure: Figure, title: str, note: str, x_label: str):
    """The figure's only axes, with the share of problems solved upwards."""
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontsize=13, fontweight="bold", pad=26)
    axes.annotate(
        note, (0, 1), (0, 9), "axes fraction", textcoords="offset points", color="#555555"
    )
    axes.set_xlabel(x_label)
    axes.set_ylabel("problems solved")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return axes


def log_ticks(axes, subs: Sequence[float], text: Callable[[float], str]) -> None:
    """A logarithmic x axis with ticks at `subs` times powers of ten, written by `text`."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_major_formatter(lambda x, _: text(x))
    axes.xaxis.set_minor_locator(NullLocator())


def name_ends(axes, ends: Sequence[End], gap: float) -> None:
    """Writes names right of the axes, each as near the height of its line's end as room allows.

    gap: the least between two names, as a share of the height of the axes.
    """
    bottom, top = axes.get_ylim()
    ends = sorted(ends, key=lambda end: end.y)
    heights = spread([(end.y - bottom) / (top - bottom) for end in ends], gap)
    for end, height in zip(ends, heights, strict=True):
        arrow = {"arrowstyle": "-", "color": end.colour, "alpha": 0.35, "linewidth": 0.8}
        axes.annotate(
            end.name,
            xy=(end.x, end.y),
            xytext=(1.05, height),
            textcoords="axes fraction",
            color=end.colour,
            va="center",
            fontsize=end.fontsize,
            arrowprops=arrow | {"relpos": (0, 0.5)},
        )


def spread(wanted: Sequence[float], gap: float) -> list[float]:
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
