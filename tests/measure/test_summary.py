"""The summary keeps rounds apart from evaluations, and the table shows evaluations alone."""

import json

from PIL import Image

from expert_iter.measure.summary import BY_COMPUTE, BY_ROUND, summarise
from expert_iter.measure.tables import terminal

BILL = {"tokens": 20.0, "prefill_tokens": 10.0, "flops": 1e6, "seconds": 1.0}


def row(when, method, accuracy, **more):
    interval = {"accuracy": accuracy, "low": accuracy - 0.1, "high": accuracy + 0.1}
    return {"when": when, "method": method, "budget": 4, "problems": 8} | interval | BILL | more


def test_what_a_run_leaves(tmp_path):
    finals = [row(when, "mcts", share) for when, share in (("before", 0.2), ("after", 0.6))]
    rounds = [row("round", "mcts", 0.3 + 0.1 * n, round=n) for n in (1, 2)]
    text = summarise(tmp_path, [finals[0], *rounds, finals[1]], {"seconds": 5.0})
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary == {"results": finals, "rounds": rounds, "costs": {"seconds": 5.0}}
    assert text == terminal(finals)
    for name in (BY_ROUND, BY_COMPUTE):
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 300
