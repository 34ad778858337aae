import numpy as np
from PIL import Image

from expert_iter.measure.plots import accuracy_by_compute, accuracy_by_round


def row(method, accuracy, **rest):
    low, high = max(accuracy - 0.05, 0), min(accuracy + 0.05, 1)
    return {"method": method, "accuracy": accuracy, "low": low, "high": high} | rest


def has_colour(path, colour):
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return bool((np.abs(pixels - wanted).max(axis=-1) <= 8).any())


def assert_readme_picture(path):
    picture = Image.open(path)
    assert picture.format == "PNG" and picture.size == (960, 600)
    assert path.stat().st_size < 80_000
    assert picture.convert("RGB").getpixel((2, 2)) == (255, 255, 255)


def test_accuracy_by_round(tmp_path):
    path = tmp_path / "rounds.png"
    rows = [row("mcts", 0.1 + 0.05 * i, round=i) for i in (2, 0, 1)]
    rows += [row("an_unknown_search", 0.2, round=i) for i in range(3)]
    accuracy_by_round(rows, path)
    assert_readme_picture(path)
    assert has_colour(path, "#0072B2") and has_colour(path, "#CC79A7")
    assert not has_colour(path, "#D55E00")


def test_accuracy_by_compute(tmp_path):
    path = tmp_path / "compute.png"
    rows = [row("greedy", 0.3, when="after", tokens=26)]
    rows += [
        row(method, level * n**0.2, when=when, tokens=26 * n)
        for method, level in (("best_of_n", 0.3), ("pass_at_n", 0.4))
        for when in ("after", "before")
        for n in (1, 4, 16)
    ]
    accuracy_by_compute(rows, path)
    assert_readme_picture(path)
    assert has_colour(path, "#000000") and has_colour(path, "#D55E00")
    assert not has_colour(path, "#0072B2")

    def bytes_without(*left_out):
        other = tmp_path / "other.png"
        accuracy_by_compute([r for r in rows if (r["method"], r["when"]) not in left_out], other)
        return other.read_bytes()

    assert bytes_without(("pass_at_n", "before")) == path.read_bytes()
    assert bytes_without(("pass_at_n", "after")) != path.read_bytes()
