import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from PIL import Image

from expert_iter.measure import drawing
from expert_iter.measure.calibration import by_position
from expert_iter.measure.comparison.plots import (
    accuracy_against,
    over_optimisation,
    reliability_diagram,
)

BLACK, SKY, GREEN, RED, BLUE = "#000000", "#56B4E9", "#009E73", "#D55E00", "#0072B2"
N = 200


def row(expert, readout, budget, accuracy, seed=0, unit="tokens", tokens=None):
    tokens = tokens or (budget if unit == "tokens" else budget / 5e5)
    right = round(N * accuracy)
    return {
        "expert": expert,
        "readout": readout,
        "unit": unit,
        "budget": budget,
        "seed": seed,
        "tokens": tokens,
        "prefill_tokens": 9.0,
        "flops": 5e5 * tokens,
        "seconds": 1.0,
        "correct": "1" * right + "0" * (N - right),
    }


def many(methods=18, seeds=1):
    """Methods whose lines end close to one another, some with an oracle."""
    rows = []
    for i, budget, seed, unit in itertools.product(
        range(methods), (144, 288, 576), range(seeds), ("tokens", "flops")
    ):
        amount = budget * (5e5 if unit == "flops" else 1)
        accuracy = 0.6 + 0.2 * i / methods + 0.05 * np.log2(budget / 144)
        rows.append(row(f"a_long_expert_name_{i}", "best", amount, accuracy, seed, unit))
        if i % 6 == 0:
            rows.append(row(f"a_long_expert_name_{i}", "oracle", amount, 0.97, seed, unit))
    return rows + [row("greedy", "best", 144, 0.3, tokens=18.0)]


@pytest.fixture
def figures(monkeypatch):
    """The figures that were written, laid out."""
    written = []

    def keep(**options):
        written.append(Figure(**options))
        return written[-1]

    monkeypatch.setattr(drawing, "Figure", keep)
    return written


def boxes(figure):
    """What is written in a figure, and where."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    texts = [t for t in figure.findobj(lambda a: hasattr(a, "get_text")) if t.get_text().strip()]
    texts = [text for text in texts if text.get_visible()]
    for axes in figure.axes:  # ticks outside the limits are kept, but not drawn
        for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            unseen = [
                tick
                for tick in axis.get_major_ticks()
                if not limits[0] <= tick.get_loc() <= limits[1]
            ]
            hidden = {id(label) for tick in unseen for label in (tick.label1, tick.label2)}
            texts = [text for text in texts if id(text) not in hidden]

    def box(text):
        if isinstance(text, Annotation):  # without its arrow
            text.update_positions(renderer)
            return super(Annotation, text).get_window_extent(renderer)
        return text.get_window_extent(renderer)

    return [(text.get_text(), box(text)) for text in texts]


def assert_legible(figure):
    found = boxes(figure)
    width, height = figure.get_size_inches() * figure.dpi
    for words, box in found:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, words
    for (words, a), (others, b) in itertools.combinations(found, 2):
        across = min(a.x1, b.x1) - max(a.x0, b.x0)
        down = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert across <= 0 or down <= 3, (words, others)  # a box is taller than its letters


def words(figure):
    return {text for text, _ in boxes(figure)}


def has_colour(path, colour):
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return bool((np.abs(pixels - wanted).max(axis=-1) <= 8).any())


def assert_small_png(path):
    picture = Image.open(path)
    assert picture.format == "PNG" and picture.mode == "P"
    assert path.stat().st_size < 100_000
    assert picture.convert("RGB").getpixel((2, 2)) == (255, 255, 255)


@pytest.mark.parametrize("cost", ["tokens", "flops"])
def test_twenty_methods_can_be_read(tmp_path, figures, cost):
    path = tmp_path / "a.png"
    accuracy_against(many(seeds=2), cost, path)
    assert_small_png(path)
    assert_legible(figures[0])
    shown = words(figures[0])
    assert {f"a long expert name {i}" for i in range(18)} <= shown
    assert {f"a long expert name {i} (oracle)" for i in (0, 6, 12)} <= shown


def test_the_best_seven_are_coloured_and_a_line_far_below_is_named_only(tmp_path, figures):
    accuracy_against(many(), "tokens", tmp_path / "a.png")
    lines = figures[0].axes[0].lines
    vivid = [line for line in lines if line.get_linewidth() == 1.8]
    means = sorted(np.mean(line.get_ydata()) for line in lines if line.get_linestyle() == "-")
    assert sorted(np.mean(line.get_ydata()) for line in vivid) == means[-7:]
    assert len({line.get_color() for line in vivid}) == 7
    assert any(text.endswith("greedy: 30%.") for text in words(figures[0]))
    assert figures[0].axes[0].get_ylim()[0] > 0.5
    dotted = [line for line in lines if line.get_linestyle() == ":"]
    # Of the experts with an oracle, the 12th alone is among the best seven (11 to 17).
    vivid_colours = {line.get_color() for line in vivid}
    assert [line.get_color() in vivid_colours for line in dotted] == [False, False, True]


def test_the_caller_chooses_what_is_coloured(tmp_path, figures):
    path = tmp_path / "a.png"
    accuracy_against(many(), "tokens", path, highlight=[("greedy", "best")])
    assert has_colour(path, BLACK) and not has_colour(path, SKY)
    assert "greedy" in words(figures[0])
    assert figures[0].axes[0].get_ylim()[0] < 0.3
    assert_legible(figures[0])


def test_lines_are_the_means_over_seeds_at_their_cost(tmp_path, figures):
    rows = [row("mcts", "best", b, p, s) for b, s, p in ((8, 0, 0.2), (8, 1, 0.4), (16, 0, 0.5))]
    rows += [row("mcts", "best", 1e9, 0.9, unit="flops")]
    accuracy_against(rows[::-1], "tokens", tmp_path / "a.png")
    (line,) = figures[0].axes[0].lines
    assert list(line.get_xdata()) == [8, 16]
    assert list(line.get_ydata()) == pytest.approx([0.3, 0.5])
    accuracy_against(rows[:3], "flops", tmp_path / "b.png")  # budgets in tokens are all there is
    (line,) = figures[1].axes[0].lines
    assert list(line.get_xdata()) == [4e6, 8e6]


def test_more_methods_than_fit_are_left_without_names(tmp_path, figures):
    accuracy_against(many(40), "tokens", tmp_path / "a.png")
    assert_legible(figures[0])
    shown = words(figures[0])
    assert "a long expert name 39" in shown and "a long expert name 20" not in shown


@pytest.mark.parametrize("accuracy", [0.0, 1.0])
def test_a_single_point_can_be_seen(tmp_path, figures, accuracy):
    path = tmp_path / "a.png"
    accuracy_against([row("greedy", "best", 18, accuracy)], "tokens", path)
    assert has_colour(path, BLACK)
    assert_legible(figures[0])
    interval = figures[0].axes[0].collections[-1].get_segments()[0]
    assert np.ptp(interval[:, 0]) == 0 and np.ptp(interval[:, 1]) > 0


def test_many_lines_far_below_are_named_in_several_lines(tmp_path, figures):
    low = [row(f"some_poor_method_{i}", "best", 144, 0.2) for i in range(20)]
    accuracy_against(many() + low, "tokens", tmp_path / "a.png")
    assert_legible(figures[0])


def test_over_optimisation_rings_the_peak_of_what_turns_down(tmp_path, figures):
    curves = {
        "value": (0.5, 0.7, 0.65),
        "best": (0.5, 0.6, 0.7),
        "majority_vote": (0.4, 0.4, 0.4),
        "oracle": (0.6, 0.95, 0.9),
    }
    rows = [
        row("samples", readout, budget, p)
        for readout, ps in curves.items()
        for budget, p in zip((600, 200, 400), (ps[2], ps[0], ps[1]), strict=True)
    ]
    rows += [row("mcts", "best", 200, 0.9)]
    path = tmp_path / "a.png"
    over_optimisation(rows, path)
    assert_small_png(path)
    assert_legible(figures[0])
    axes = figures[0].axes[0]
    rings = [c.get_offsets().tolist() for c in axes.collections if len(c.get_offsets()) == 1]
    rings = [ring for (ring,) in rings if ring != [0, 0]]  # bands have no offset
    assert rings == [[400, pytest.approx(0.7)]]
    assert {"value", "best", "majority vote", "oracle"} <= words(figures[0])
    assert "mcts" not in words(figures[0])
    assert [line.get_linestyle() for line in axes.lines] == ["-", "-", "-", ":"]
    assert any("rings" in text for text in words(figures[0]))
    over_optimisation(rows[3:6], tmp_path / "b.png")
    assert not any("rings" in text for text in words(figures[1]))


@pytest.mark.parametrize("count", [1, 3, 4, 6, 9])
def test_reliability_has_a_panel_a_position(tmp_path, figures, count):
    rng = np.random.default_rng(0)
    position = [f"after step {i}" for i in range(count)] * 50
    truth = rng.random(len(position))
    path = tmp_path / "a.png"
    positions = by_position(position, truth, rng.random(len(truth)) < truth)
    reliability_diagram(positions, path)
    assert_small_png(path)
    assert_legible(figures[0])
    panels = figures[0].axes
    assert len(panels) == count
    assert len({round(panel.get_position().x0, 3) for panel in panels}) == min(count, 4)
    for panel, expected in zip(panels, positions, strict=True):
        assert panel.get_title(loc="left") == expected["position"]
        (dots,) = panel.collections
        assert dots.get_offsets().tolist() == [[b["mean"], b["share"]] for b in expected["bins"]]
        sizes, counts = dots.get_sizes(), [b["count"] for b in expected["bins"]]
        assert list(np.argsort(sizes, kind="stable")) == list(np.argsort(counts, kind="stable"))


def test_reliability_of_what_was_never_right_has_no_auc(tmp_path, figures):
    reliability_diagram(by_position([3, 3], [0.1, 0.2], [False, False]), tmp_path / "a.png")
    shown = words(figures[0])
    assert "position 3" in shown
    assert any("2 solutions, 0% right\nECE 0.15  AUC –  Brier 0.03" in text for text in shown)
