"""Best-first search over steps with a learned estimate, in the manner of A* ("Q*", Wang et al.
2024, arXiv 2406.14283).
"""

from expert_iter.search.frontier import Frontier
from expert_iter.search.search_config import SearchConfig


def by_likelihood(tree: Frontier, config: SearchConfig):
    """f = g + λ·h: what the path has come by, its log-probability, and λ times what the value head
    expects of the rest, log v.
    """
    g = tree.path_log_pi_N[:, None] + tree.log_pi_NxK
    return g + config.heuristic_weight * tree.log_value_NxK


def by_step_rewards(tree: Frontier, config: SearchConfig):
    """f = g + λ·h with the steps' values as rewards: g = Σ log v over the steps so far."""
    return tree.path_log_value_N[:, None] + config.heuristic_weight * tree.log_value_NxK
