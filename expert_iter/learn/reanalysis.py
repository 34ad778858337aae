"""Problems of past rounds that are searched again by the newest network, whose lessons replace the
old ones (MuZero Reanalyse, Schrittwieser et al. 2021).
"""

from collections.abc import Mapping, Sequence

import numpy as np

from expert_iter.learn.step_tree import Origin


def draw(
    origins: Sequence[Origin],
    updates: int,
    places: Mapping[str, int],
    count: int,
    rng: np.random.Generator,
) -> list[int]:
    """Draws problems of the replay without replacement, each with a probability in proportion to
    its staleness: the updates since the parameters that searched it last.

    Args:
      origins: of the replay's trees, the same on all processes.
      updates: how many the parameters have seen.
      places: where the problems that may be searched are in the training split, by id.
      count: how many to draw; fewer where the replay has fewer that are stale.

    Returns:
      The places of those drawn.
    """
    newest: dict[str, int] = {}
    for origin in origins:
        if origin.problem in places:
            newest[origin.problem] = max(origin.updates, newest.get(origin.problem, 0))
    stale = {problem: updates - seen for problem, seen in newest.items() if seen < updates}
    if not stale:
        return []
    priority = np.array(list(stale.values()), float)
    problems = np.array([places[problem] for problem in stale])
    drawn = rng.choice(problems, min(count, len(stale)), replace=False, p=priority / priority.sum())
    return drawn.tolist()


def interleaved(order: np.ndarray, again: Sequence[int], count: int) -> np.ndarray:
    """The order of a round's problems: `again` spread evenly over the first `count`, the rest from
    `order`. Its beginning depends on nothing that changes when the round is resumed.
    """
    fresh = order[~np.isin(order, again)]
    every = (count - len(again)) / max(len(again), 1)
    at = ((np.arange(len(again)) + 0.5) * every).astype(int)
    return np.insert(fresh, np.minimum(at, len(fresh)), again)
