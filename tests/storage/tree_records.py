"""Records of small trees, written out by hand."""

import numpy as np

from expert_iter.storage.tree_record import Steps, Summary, TreeRecord


def record(problem="train-5", round=1, unit=0, solved=True, **changes) -> TreeRecord:
    """Three steps: two after the prompt, and a solution after the second of them."""
    summary = Summary(problem, "1 2 -> 3\n", "mcts", round, unit, 40, solved, 2, 0.75)
    steps = Steps(
        text=["1 + 1 = 2\n", "1 + 2 = 3\n", "done\n"],
        parent=np.array([-1, -1, 1], np.int32),
        prior=np.array([0.25, 0.75, 1.0], np.float32),
        value=np.array([0.5, 0.125, 0.75], np.float32),
        q=np.array([0.5, 1.0, 1.0], np.float32),
        visits=np.array([1, 3, 2], np.int32),
        finished=np.array([False, False, True]),
        won=np.array([False, False, solved]),
    )
    arrays = {
        "live": np.array([True, True, False]),
        "candidates.token": np.arange(24, dtype=np.int32).reshape(3, 2, 4),
        "bill.flops": np.array(2.5e9, np.float32),
    }
    return TreeRecord(summary, steps, arrays)._replace(**changes)
