"""A search tree as text: which steps were looked at, how often, and what they seemed worth."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from expert_iter.storage.tree_record import Steps


@dataclass
class TreeNode:
    """A step in a search tree, and what the search knows of it.

    Attributes:
        text: of the step; at the root, the prompt.
        visits: simulations that went through this step.
        q: estimated probability of ending in a right solution, or None.
        prior: probability of this step among its siblings before the search, or None.
        finished: the solution ends here.
        chosen: on the path of the answer.
        value: the value head's estimate, by itself, or None.
        verdict: whether the finished solution is right, if that was asked after the search.
        children: candidate next steps.
    """

    text: str
    visits: int = 0
    q: float | None = None
    prior: float | None = None
    finished: bool = False
    chosen: bool = False
    value: float | None = None
    verdict: bool | None = None
    children: list["TreeNode"] = field(default_factory=list)


def nested(prompt: str, steps: Steps, verdicts: Sequence[bool | None], last: int = -1) -> TreeNode:
    """The tree of a prompt and its steps.

    Args:
      prompt: its text.
      steps: parents before children.
      verdicts: of each step; None for one that was not judged, or has not finished.
      last: the last step of the answer, -1 if there is none. It and all before it are chosen.
    """
    known = {name: getattr(steps, name).tolist() for name in ("visits", "q", "prior", "value")}
    finished, parents = steps.finished.tolist(), steps.parent.tolist()
    nodes = [
        TreeNode(
            text.strip(),
            finished=finished[i],
            verdict=verdicts[i],
            **{name: column[i] for name, column in known.items()},
        )
        for i, text in enumerate(steps.text)
    ]
    root = TreeNode(prompt.strip(), chosen=True)
    for node, parent in zip(nodes, parents, strict=True):
        (nodes[parent] if parent >= 0 else root).children.append(node)
    root.visits = sum(child.visits for child in root.children)
    while last >= 0:
        nodes[last].chosen = True
        last = parents[last]
    return root


@dataclass(frozen=True)
class _Glyphs:
    branch: str = "├─ "
    last: str = "└─ "
    bar: str = "│  "
    chosen: str = "►"
    dots: str = "…"
    unprintable: str = "\N{REPLACEMENT CHARACTER}"


_ASCII = _Glyphs(branch="|- ", last="`- ", bar="|  ", chosen=">", dots="...", unprintable="?")
_LEGEND = "value: estimated chance to end right; prior: before the search"
_MIN_WIDTH = 40


def render(
    root: TreeNode, width: int = 100, min_visits: int = 1, max_lines: int = 60, ascii: bool = False
) -> str:
    """Draws the tree, the most visited of siblings first, with a mark at every chosen step.

    Siblings with fewer than `min_visits` visits are folded into one line that counts them, with
    all that follows them; at the frontier, where no sibling was visited, they are left out. If the
    text is longer than `max_lines`, the threshold rises until it fits; but the chosen path is
    always shown, even where it alone is longer.

    Args:
        root: of the tree.
        width: of the longest line, at least 40; steps that do not fit are cut.
        min_visits: 0 folds nothing, unless there are too many lines.
        max_lines: of the whole text, heading and legend included.
        ascii: draw with ASCII alone, and write other characters in the steps as escapes.
    """
    if width < _MIN_WIDTH:
        raise ValueError(f"a tree needs a width of at least {_MIN_WIDTH}, got {width}")
    glyphs = _ASCII if ascii else _Glyphs()
    visits = {node.visits for node in _walk(root)}
    for threshold in sorted({min_visits, *(n + 1 for n in visits if n >= min_visits)}):
        lines = [((), root), *_below(root, threshold, glyphs)]
        if len(lines) + 2 <= max_lines:
            break
    columns = _columns([node for _, node in lines])
    room = width - 2 - sum(2 + len(column[0]) for column in columns)
    # A long solution keeps room for its steps by a narrower indent.
    indent = 3 if max(3 * len(lead) for lead, _ in lines) <= room // 2 else 1
    steps = [
        _cut("".join(bar[:indent] for bar in lead) + _clean(node.text, ascii, glyphs), room, glyphs)
        for lead, node in lines
    ]
    longest = max(map(len, steps))
    marks = [" ", *(glyphs.chosen if node.chosen else " " for _, node in lines)]
    drawn = [
        "  ".join([f"{mark} {step.ljust(longest)}", *cells]).rstrip()
        for mark, step, *cells in zip(marks, ["", *steps], *columns, strict=True)
    ]
    legend = f"{glyphs.chosen} the answer; {_LEGEND}"
    if threshold > min_visits:
        legend = f"{glyphs.chosen} the answer; folded: under {threshold} visits; {_LEGEND}"
    return "\n".join([*drawn, _cut(legend, width, glyphs)])


def render_for(encoding: str | None, root: TreeNode, **options) -> str:
    """`render` for a stream of this encoding (`sys.stdout.encoding`): ASCII where it must be."""
    text = render(root, **options)
    try:
        text.encode(encoding or "ascii")
    except UnicodeEncodeError:
        return render(root, ascii=True, **options)
    return text


def _walk(node: TreeNode) -> Iterator[TreeNode]:
    yield node
    for child in node.children:
        yield from _walk(child)


def _below(
    node: TreeNode, threshold: int, glyphs: _Glyphs, lead: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], TreeNode]]:
    """Lines under a node, each the bars before its text, one a level, and what it shows."""
    ordered = sorted(node.children, key=lambda child: (-child.visits, -(child.prior or 0)))
    shown = [child for child in ordered if child.visits >= threshold or child.chosen]
    folded = [child for child in ordered if not (child.visits >= threshold or child.chosen)]
    folded_visits = sum(child.visits for child in folded)
    if not shown and not folded_visits:
        return
    if len(folded) == 1 and not folded[0].children:  # folding it would save no line
        shown, folded = ordered, []
    for child in shown:
        is_last = child is shown[-1] and not folded
        yield (*lead, glyphs.last if is_last else glyphs.branch), child
        yield from _below(child, threshold, glyphs, (*lead, "   " if is_last else glyphs.bar))
    if folded:
        text = f"{glyphs.dots} {len(folded)} more step{'s' if len(folded) > 1 else ''}"
        text += "" if folded_visits else ", not visited"
        yield (*lead, glyphs.last), TreeNode(text, folded_visits)


def _columns(nodes: list[TreeNode]) -> list[list[str]]:
    """Aligned cells under their heading; a column without content is left out."""
    cells = {
        "visits": [str(node.visits) for node in nodes],
        "value": [_number(node.q) for node in nodes],
        "prior": [_number(node.prior) for node in nodes],
        "outcome": [_outcome(node) for node in nodes],
    }
    columns = []
    for heading, column in cells.items():
        if any(column):
            width = max(map(len, [heading, *column]))
            align = str.ljust if heading == "outcome" else str.rjust
            columns.append([align(cell, width) for cell in [heading, *column]])
    return columns


def _number(share: float | None) -> str:
    return "" if share is None else f"{share:.2f}"


def _outcome(node: TreeNode) -> str:
    if not node.finished:
        return ""
    return {None: "finished", True: "right", False: "wrong"}[node.verdict]


def _clean(text: str, ascii: bool, glyphs: _Glyphs) -> str:
    """On one line, and without the control characters that a young model writes to the terminal."""
    text = " ".join(text.split())
    text = "".join(c if c.isprintable() else glyphs.unprintable for c in text)
    return text.encode("ascii", "backslashreplace").decode() if ascii else text


def _cut(text: str, room: int, glyphs: _Glyphs) -> str:
    return text if len(text) <= room else text[: room - len(glyphs.dots)] + glyphs.dots
