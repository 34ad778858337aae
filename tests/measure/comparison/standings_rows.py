"""Made-up rows of comparisons, for tests."""

import numpy as np

from expert_iter.measure.bootstrap import interval


def row(expert, readout, budget, correct, seed=0, unit="tokens", **costs):
    accuracy, low, high = interval([int(verdict) for verdict in correct])
    scores = {"accuracy": accuracy, "low": low, "high": high}
    bill = {"tokens": float(budget), "prefill_tokens": 9.0, "flops": 5e5 * budget, "seconds": 0.8}
    if unit == "flops":
        bill |= {"tokens": budget / 5e5, "flops": float(budget)}
    key = {"expert": expert, "readout": readout, "unit": unit, "budget": budget, "seed": seed}
    return key | scores | bill | costs | {"problems": len(correct), "correct": correct}


def text(right, n=200):
    """Verdicts on n problems, the first of which are right."""
    return "1" * right + "0" * (n - right)


def drawn(rng, p, n=200):
    return "".join(map(str, (rng.random(n) < p).astype(int)))


def array(*texts):
    return np.array([[int(verdict) for verdict in correct] for correct in texts])
