"""An expert: continue the likeliest step first, wherever it is in the tree.

See docs/experts.md for the command.
"""

from expert_iter.search.experts import EXPERTS, grown_by
from expert_iter.search.frontier import Frontier
from expert_iter.search.search_config import SearchConfig


def likeliest(tree: Frontier, config: SearchConfig):
    """[N, K] float. Priorities of the candidates; the open one with the highest is next.

    A candidate with the priority `frontier.NEVER` is not continued. The search ends where no other
    is left, or at its budget.
    """
    return tree.path_log_pi_N[:, None] + tree.log_pi_NxK


EXPERTS["likeliest"] = grown_by(likeliest)
