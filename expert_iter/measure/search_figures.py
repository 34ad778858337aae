"""What a batch of searched trees tells about the search and the network, in a few numbers."""

from collections.abc import Mapping

import numpy as np

from expert_iter.measure.calibration import auc
from expert_iter.search.tree import SearchTree


def search_facts(trees: SearchTree) -> dict[str, np.ndarray]:
    """What `search_means` and `search_sums` need to know of trees (host arrays): arrays that can be
    put one after the other.
    """
    c = trees.candidates
    judged = c.finished & c.valid
    there = c.valid & trees.live[..., None]  # narrow nodes leave places of wide ones empty
    return {
        "solved": trees.won.any(axis=(1, 2)),
        "nodes": trees.live.sum(axis=1),
        "drawn": (c.count * there).sum(axis=(1, 2)),
        "distinct": there.sum(axis=(1, 2)),
        "judged_value": c.model_value[judged],
        "judged_won": trees.won[judged],
        **trees.bill._asdict(),
    }


def search_means(facts: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Shares and means over a batch: problems solved, nodes a tree, how well the value head tells
    right from wrong finished solutions (AUC), tokens wanted of those computed, and draws that were
    duplicates.
    """
    return {
        "solved": facts["solved"].mean(),
        "nodes": facts["nodes"].mean(),
        "value_auc": auc(facts["judged_value"], facts["judged_won"]),
        "utilisation": facts["generated"].sum() / facts["lockstep"].sum(),
        "duplicates": 1 - facts["distinct"].sum() / facts["drawn"].sum(),
    }


def search_sums(facts: Mapping[str, np.ndarray]) -> dict[str, float]:
    """What the batch cost."""
    return {
        "problems": len(facts["solved"]),
        "tokens": facts["generated"].sum(),
        "prefilled": facts["prefilled"].sum(),
        "flops": facts["flops"].sum(),
    }
