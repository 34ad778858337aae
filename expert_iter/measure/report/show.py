"""The tree of a search that was just made, as the nodes that `tree_text` and the report draw."""

from collections.abc import Callable

import jax
import numpy as np

from expert_iter.measure.report.tree_text import TreeNode, nested
from expert_iter.model.tokenizers.tokenizer import TextTokenizer
from expert_iter.search.readout import Solution, path, step_tokens
from expert_iter.search.to_tree_record import steps_of
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
    [steps] = steps_of(jax.tree.map(lambda x: x[b : b + 1], tree), tokenizer)
    places = np.argwhere(tree.candidates.valid[b] & tree.live[b][:, None]).tolist()

    def judged(node: int, k: int) -> bool:
        tokens = [t for at in (*path(tree, b, node), (node, k)) for t in step_tokens(tree, b, *at)]
        return verdict(tokenizer.decode(tokens[:-1]))

    verdicts = [
        judged(*place) if verdict is not None and finished else None
        for place, finished in zip(places, steps.finished, strict=True)
    ]
    last = -1 if answer is None else places.index([answer.node, answer.candidate])
    return nested(prompt, steps, verdicts, last)
