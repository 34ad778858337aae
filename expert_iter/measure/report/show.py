"""A searched tree as the nested nodes that `measure.tree_text` and the report draw."""

from collections.abc import Callable

import numpy as np

from expert_iter.measure.report.tree_text import TreeNode
from expert_iter.model.tokenizers.tokenizer import TextTokenizer
from expert_iter.search.readout import Solution, path, step_tokens
from expert_iter.search.tree import SearchTree


def tree_of(
    tree: SearchTree,
    answer: Solution | None,
    tokenizer: TextTokenizer,
    prompt: str,
    b: int = 0,
    verdict: Callable[[str], bool] | None = None,
) -> TreeNode:
    """Row b of `tree` (host arrays), with the steps of `answer` marked as chosen.

    verdict: whether a finished text is right, now that the search is over.
    """
    chosen = set()
    if answer is not None:
        chosen = {*path(tree, b, answer.node), (answer.node, answer.candidate)}
    root = TreeNode(prompt.strip(), visits=int(tree.visits[b, 0].sum()), chosen=True)
    c, drawn = tree.candidates, {0: root}
    for node in np.flatnonzero(tree.live[b]):
        logits = c.prior_logit[b, node]
        prior = np.exp(logits - logits.max())
        prior /= prior.sum()
        for k in np.flatnonzero(c.valid[b, node]):
            child = TreeNode(
                tokenizer.decode(step_tokens(tree, b, node, k)).strip(),
                visits=int(tree.visits[b, node, k]),
                value=float(tree.q[b, node, k]),
                prior=float(prior[k]),
                estimate=float(c.model_value[b, node, k]),
                finished=bool(c.finished[b, node, k]),
                chosen=(int(node), int(k)) in chosen,
            )
            if verdict is not None and child.finished:
                steps = [*path(tree, b, node), (node, k)]
                tokens = [t for at in steps for t in step_tokens(tree, b, *at)][:-1]
                child.verdict = verdict(tokenizer.decode(tokens))
            drawn[int(node)].children.append(child)
            if tree.child[b, node, k] >= 0:
                drawn[int(tree.child[b, node, k])] = child
    return root
