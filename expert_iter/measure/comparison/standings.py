"""How the methods of a comparison stand against each other, each with its bill.

A method is an expert (how solutions are looked for) with a readout (how one of them is picked as
the answer). A comparison is a list of plain dict rows, one a method, budget and seed:

    expert, readout   "mcts", "best"; the readout "oracle" is pass@N: the verifier picks
    unit              what the budget is counted in: "tokens" (generated) or "flops" (of the model)
    budget            per problem, in that unit
    seed              of the run
    accuracy          share of problems solved; `low` and `high` are its 95% interval
    tokens            generated per problem (mean); `prefill_tokens` and `flops` likewise
    seconds           wall time for all problems
    problems          how many there were
    correct           "0110...", one character a problem, in the same order in all rows

Of two rows with one method, unit, budget and seed the later one counts. Intervals resample
problems, with seeds averaged first (see `bootstrap`). No method can pick as the verifier does, so
oracle rows are never compared with others and stand apart.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from expert_iter.measure.bootstrap import interval, paired_difference

ORACLE = "oracle"
COSTS = ("tokens", "prefill_tokens", "flops")  # per problem
UNITS = {"tokens": "generated tokens", "flops": "model FLOPs"}

Method = tuple[str, str]  # expert, readout


def label(expert: str, readout: str = "") -> str:
    """What a reader calls a method: ("beam_search", "value_vote") is "beam search (value vote)"."""
    text = f"{expert} ({readout})" if readout else expert
    return text.replace("_", " ")


def labels(rows: Iterable[dict]) -> dict[Method, str]:
    """The label of every method, in order of appearance.

    An expert's first readout goes without saying, and so does the oracle: tell that one apart by
    where it stands.
    """
    rows = list(rows)
    unsaid = first_readouts(rows)
    return {
        (expert, readout): label(expert, "" if readout in (ORACLE, unsaid.get(expert)) else readout)
        for expert, readout in dict.fromkeys((row["expert"], row["readout"]) for row in rows)
    }


def aggregate(rows: Iterable[dict]) -> list[dict]:
    """One dict for each method, unit and budget, in order of appearance.

    It has `expert`, `readout`, `unit`, `budget`; `seeds`, their number; `accuracy`, the mean over
    seeds, with its 95% interval `low`, `high`; `seed_low` and `seed_high`, the lowest and highest
    accuracy of a single seed; the means over seeds of `tokens`, `prefill_tokens` and `flops` per
    problem and of `seconds_per_problem`; and `problems`. Oracles are among them.
    """
    aggregated = []
    for (expert, readout, unit, budget), runs in _runs(rows).items():
        scores_SP = _scores(runs.values())
        accuracy, low, high = interval(scores_SP)
        by_seed = scores_SP.mean(axis=1)
        aggregated.append(
            {
                "expert": expert,
                "readout": readout,
                "unit": unit,
                "budget": budget,
                "seeds": len(runs),
                "accuracy": accuracy,
                "low": low,
                "high": high,
                "seed_low": float(by_seed.min()),
                "seed_high": float(by_seed.max()),
                **{cost: _mean(runs.values(), cost) for cost in COSTS},
                "seconds_per_problem": _mean(runs.values(), "seconds") / scores_SP.shape[1],
                "problems": scores_SP.shape[1],
            }
        )
    return aggregated


def paired(rows: Iterable[dict], unit: str, baseline: Method) -> list[dict]:
    """Every other method against the baseline at the same budget, on the same problems.

    Args:
        rows: of the comparison.
        unit: that the budgets are counted in, "tokens" or "flops".
        baseline: (expert, readout), not an oracle.

    Returns:
        One dict for each budget and method, from the lowest budget up: `budget`, `expert`,
        `readout`; `difference` (accuracy minus the baseline's) with its 95% interval `low`,
        `high`; `relative_cost`, the mean cost in the unit over the baseline's. Only seeds that both
        have count, and a pair without any is left out, as are budgets that the baseline has not.
    """
    runs_of = _judged(rows, unit)
    pairs = []
    for (method, budget), runs in runs_of.items():
        base = runs_of.get((baseline, budget), {})
        seeds = [seed for seed in runs if seed in base]
        if method == baseline or not seeds:
            continue
        ours, theirs = [runs[seed] for seed in seeds], [base[seed] for seed in seeds]
        difference, low, high = paired_difference(_scores(ours), _scores(theirs))
        pairs.append(
            {
                "budget": budget,
                "expert": method[0],
                "readout": method[1],
                "difference": difference,
                "low": low,
                "high": high,
                "relative_cost": _mean(ours, unit) / _mean(theirs, unit),
            }
        )
    return sorted(pairs, key=lambda pair: pair["budget"])


def best_at(rows: Iterable[dict], unit: str) -> dict[float, list[Method]]:
    """Which methods are best at each budget of a unit, from the lowest up.

    The first is the method with the highest mean accuracy, oracles excepted (the first of several).
    After it come those that are not significantly worse: the 95% interval of their paired
    difference to it reaches 0.
    """
    runs_of, best = _judged(rows, unit), {}
    for budget in sorted({budget for _, budget in runs_of}):
        here = {method: runs for (method, at), runs in runs_of.items() if at == budget}
        means = {method: float(_scores(runs.values()).mean()) for method, runs in here.items()}
        winner = max(means, key=means.get)
        pairs = paired([row for runs in here.values() for row in runs.values()], unit, winner)
        level = [(pair["expert"], pair["readout"]) for pair in pairs if pair["high"] >= 0]
        best[budget] = [winner, *level]
    return best


def slope(rows: Iterable[dict], expert: str, readout: str, unit: str) -> dict | None:
    """Percentage points of accuracy for each doubling of the cost, over the budgets of a method.

    The least-squares line of mean accuracy over log2 of the mean cost in the unit. Costs are taken
    as they are; only problems are resampled.

    Returns:
        `slope` with its 95% interval `low`, `high`, and `doublings` of the cost from the cheapest
        to the dearest budget (over few of them it says little). None where there are fewer than
        two budgets, or their costs lie within 1% of one another.
    """
    of_method = [runs for key, runs in _runs(rows).items() if key[:3] == (expert, readout, unit)]
    cost_B = np.array([_mean(runs.values(), unit) for runs in of_method])
    if len(cost_B) < 2 or cost_B.max() <= 1.01 * cost_B.min():
        return None
    x_B = np.log2(cost_B) - np.log2(cost_B).mean()
    weight_B = 100 * x_B / (x_B @ x_B)
    # The slope is the mean over problems of weight_B @ score_B, which lies within ±steepest. Scaled
    # to [0, 1] it is one more score to take the interval of. Rounding keeps equal ones equal.
    steepest = weight_B[weight_B > 0].sum()
    scores_BP = _stacked([_scores(runs.values()).mean(axis=0) for runs in of_method])
    share_P = np.round((weight_B @ scores_BP / steepest + 1) / 2, 12)
    mean, low, high = ((2 * share - 1) * steepest for share in interval(share_P))
    doublings = float(np.log2(cost_B.max() / cost_B.min()))
    return {"slope": float(mean), "low": float(low), "high": float(high), "doublings": doublings}


def first_readouts(rows) -> dict[str, str]:
    """The first readout of each expert, oracles aside."""
    first = {}
    for row in rows:
        if row["readout"] != ORACLE:
            first.setdefault(row["expert"], row["readout"])
    return first


def _runs(rows) -> dict[tuple, dict]:
    """(expert, readout, unit, budget) -> seed -> row, in order of appearance."""
    runs = {}
    for row in rows:
        key = (row["expert"], row["readout"], row["unit"], row["budget"])
        runs.setdefault(key, {})[row["seed"]] = row
    return runs


def _judged(rows, unit) -> dict[tuple[Method, float], dict]:
    """(method, budget) -> seed -> row, for rows of the unit that are no oracle's."""
    return {
        ((expert, readout), budget): runs
        for (expert, readout, of, budget), runs in _runs(rows).items()
        if of == unit and readout != ORACLE
    }


def _scores(rows) -> np.ndarray:
    """Verdicts: [seeds, problems]."""
    return _stacked([np.array([int(verdict) for verdict in row["correct"]]) for row in rows])


def _stacked(scores: Sequence[np.ndarray]) -> np.ndarray:
    sizes = {len(score) for score in scores}
    if len(sizes) > 1:
        raise ValueError(f"rows of one comparison must share their problems; got {sorted(sizes)}")
    return np.stack(scores)


def _mean(rows, key: str) -> float:
    return float(np.mean([row[key] for row in rows]))
