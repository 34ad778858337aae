import pytest

from expert_iter.measure.report.tree_text import TreeNode, render, render_for


def step(text, visits, *children, **known):
    return TreeNode(text, visits, children=list(children), **known)


def countdown(**answer):
    """A hand-made search on 3 5 7 -> 26."""
    won = step("21 + 5 = 26", 9, q=0.93, prior=0.4, finished=True, chosen=True, **answer)
    lost = step("21 - 5 = 16", 2, q=0.04, prior=0.3, finished=True)
    unvisited = [step(f"never {i}", 0, prior=0.01) for i in range(5)]
    good = step("3 * 7 = 21", 12, lost, won, *unvisited, q=0.8, prior=0.3, chosen=True)
    frontier = [step(f"frontier {i}", 0, prior=0.5) for i in range(2)]
    bad = step("3 + 5 = 8", 4, *frontier, q=0.1, prior=0.5)
    lone = step("5 + 7 = 12", 0, prior=0.2)
    return step("numbers: 3 5 7\ntarget: 26\n", 16, bad, lone, good, q=0.25)


def test_the_whole_picture():
    assert render(countdown()).splitlines() == [
        "                                     visits  value  prior  outcome",
        "  numbers: 3 5 7 target: 26              16   0.25",
        "► ├─ 3 * 7 = 21                          12   0.80   0.30",
        "► │  ├─ 21 + 5 = 26                       9   0.93   0.40  finished",
        "  │  ├─ 21 - 5 = 16                       2   0.04   0.30  finished",
        "  │  └─ … 5 more steps, not visited       0",
        "  ├─ 3 + 5 = 8                            4   0.10   0.50",
        "  └─ 5 + 7 = 12                           0          0.20",
        "► the answer; value: estimated chance to end right; prior: before the search",
    ]


def test_a_verdict_is_shown_only_when_given():
    assert "right" not in "".join(render(countdown()).splitlines()[:-1])
    assert "0.93   0.40  right" in render(countdown(verdict=True))
    assert "0.93   0.40  wrong" in render(countdown(verdict=False))


def test_columns_without_content_are_left_out():
    header = render(step("prompt", 3, step("a", 2))).splitlines()[0]
    assert header.split() == ["visits"]


def test_fewer_visits_than_the_threshold_are_folded_and_counted():
    tree = step("prompt", 9, *(step(f"step {n}", n, step("below", n)) for n in (1, 2, 6)))
    text = render(tree, min_visits=3)
    assert "step 6" in text and "step 2" not in text and "step 1" not in text
    assert [line.split() for line in text.splitlines() if "more" in line] == [
        ["└─", "…", "2", "more", "steps", "3"]
    ]
    assert "step 1" in render(tree)
    assert "never 4" in render(countdown(), min_visits=0)


def test_too_long_a_tree_keeps_the_most_visited_and_the_chosen():
    branches = [step(f"move {n}", n, *(step(f"{n}.{i}", 1) for i in range(n))) for n in range(30)]
    branches[3].chosen = branches[3].children[1].chosen = True
    tree = step("prompt", 500, *branches)
    for limit in (60, 30, 12):
        text = render(tree, max_lines=limit)
        assert len(text.splitlines()) <= limit
        assert "move 29" in text and "move 3 " in text and "3.1" in text
        assert "folded: under" in text
    only_chosen = render(tree, max_lines=1).splitlines()
    assert len(only_chosen) == 7  # heading, prompt, two steps, two folded lines, legend


@pytest.mark.parametrize("ascii", [False, True])
@pytest.mark.parametrize("width", [40, 80])
def test_lines_are_never_wider_than_asked_however_deep_the_tree(width, ascii):
    node = step("end", 1)
    for i in range(60):
        node = step(f"a step that goes on for quite a while, number {i}", i + 2, node, q=0.5)
    lines = render(node, width=width, max_lines=100, ascii=ascii).splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) == 63
    with pytest.raises(ValueError, match="width"):
        render(node, width=20)


def test_ascii_where_the_stream_can_do_no_better():
    tree = step("prompt", 2, step("x ≥ 2", 1, chosen=True), step("b", 1))
    assert render_for("utf-8", tree) == render(tree)
    assert render_for("latin-1", tree) == render_for(None, tree) == render(tree, ascii=True)
    assert "> |- x \\u2265 2" in render(tree, ascii=True)
    assert render(tree, ascii=True).isascii()


def test_steps_cannot_write_control_characters_to_the_terminal():
    text = render(step("a\x1b[31m\n\tb\r\x07", 1))
    assert "a\ufffd[31m b" in text
    assert not set(text) & set("\x1b\r\x07\t")
