"""What a batch of searched trees tells about the search and the network, in a few numbers."""

from expert_iter.measure.calibration import auc
from expert_iter.search.tree import SearchTree


def search_means(tree: SearchTree) -> dict[str, float]:
    """Shares and means over a batch (host arrays): problems solved, nodes a tree, how well the
    value head tells right from wrong finished solutions (AUC), tokens wanted of those computed, and
    candidates that were duplicates.
    """
    judged = tree.finished & tree.valid
    candidates = tree.live.sum() * tree.valid.shape[-1]
    return {
        "solved": tree.won.any(axis=(1, 2)).mean(),
        "nodes": tree.live.sum(axis=1).mean(),
        "value_auc": auc(tree.model_value[judged], tree.won[judged]),
        "utilisation": tree.bill.generated.sum() / tree.bill.lockstep.sum(),
        "duplicates": 1 - (tree.valid & tree.live[..., None]).sum() / candidates,
    }


def search_sums(tree: SearchTree) -> dict[str, float]:
    """What the batch cost."""
    bill = tree.bill
    return {
        "problems": len(tree.live),
        "tokens": bill.generated.sum(),
        "prefilled": bill.prefilled.sum(),
        "flops": bill.flops.sum(),
    }
