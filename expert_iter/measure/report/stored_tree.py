"""A stored tree as text and as JSON; reads no tokens and needs no JAX."""

from expert_iter.measure.report.tree_text import TreeNode, nested
from expert_iter.storage.tree_record import TreeRecord


def drawn(record: TreeRecord) -> TreeNode:
    """The tree as the nested nodes that `tree_text` draws.

    The right solution that the value head likes best is marked as chosen, if there is one.
    """
    steps = record.steps
    best = max(steps.won.nonzero()[0], key=lambda i: steps.value[i], default=-1)
    return nested(record.summary.prompt, steps, steps.won.tolist(), best)


def as_json(record: TreeRecord) -> dict:
    """JSON values: the summary, and a node for the prompt and for each step.

    A node's `parent` is its place among the nodes; the prompt is node 0, whose parent is null.
    """
    of_steps = {name: x.tolist() for name, x in record.steps._asdict().items() if name != "text"}
    parents = [parent + 1 for parent in of_steps.pop("parent")]
    nodes = [{"text": record.summary.prompt, "parent": None}]
    for i, (text, parent) in enumerate(zip(record.steps.text, parents, strict=True)):
        rest = {name: values[i] for name, values in of_steps.items()}
        nodes.append({"text": text, "parent": parent, **rest})
    return {**record.summary._asdict(), "nodes": nodes}
