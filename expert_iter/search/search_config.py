"""Settings of every search over steps."""

import dataclasses

from expert_iter.checks import Checks
from expert_iter.errors import UserError
from expert_iter.model.step_ends import MARKS


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """Tree search.

    step: what a step is, a 'line' or a 'paragraph' (up to an empty line), for all experts and for
    learning.
    num_candidates steps are drawn at a state, of at most max_step_tokens; a solution has at most
    max_steps steps. At the root root_candidates are drawn instead (0: as many as elsewhere): wide
    first steps and narrow ones below. num_simulations: nodes after the root.
    prior: 'corrected' for the draws' behaviour (log c + log π − log β, or log π − log q), or
    'length_normalised', the mean log π of a step's tokens (TS-LLM, AlphaMath).
    rollouts: how many are drawn from each candidate to the end of the text; rollout_weight: their
    share in the candidate's value, against the value head's.
    lookahead: weight, in a new node's value, of what its candidates are worth against the value
    head at the node. stop_when_solved: a tree with a verified solution stops (training only: the
    verifier knows). halvings: how often the batch may be halved as its trees end, so that few late
    ones do not cost as much as all; each size is compiled apart.

    For searches by a rule: value_threshold, below which depth-first search gives a step up;
    step_threshold: a step that leaves less than this share of the value is a bad one, in greedy
    search with backtracking; heuristic_weight: λ of best-first search, f = g + λ · log v.

    For MCTS alone: policy: 'gumbel' (Gumbel MuZero) or 'puct' (MuZero). backup: 'mean' of what came
    of the simulations, or 'max' over candidates. commit: 'solution' searches for the whole
    solution; 'step' chooses a step after each max_steps-th part of the simulations and goes on
    below it. value_scale and maxvisit_init scale values against log-priors,
    σ(q) = (maxvisit_init + max N) · value_scale · q; gumbel_scale=0 makes the root's choice
    deterministic.
    """

    step: str = "line"
    num_simulations: int = 16
    num_candidates: int = 8
    root_candidates: int = 0
    max_steps: int = 2
    max_step_tokens: int = 12
    prior: str = "corrected"
    rollouts: int = 0
    rollout_weight: float = 0.5
    lookahead: float = 1.0
    stop_when_solved: bool = False
    halvings: int = 0
    value_threshold: float = 0.1
    step_threshold: float = 0.5
    heuristic_weight: float = 10.0
    policy: str = "gumbel"
    backup: str = "mean"
    commit: str = "solution"
    value_scale: float = 0.1
    maxvisit_init: float = 50.0
    gumbel_scale: float = 1.0
    pb_c_init: float = 1.25
    pb_c_base: float = 19652.0

    def __post_init__(self):
        check = Checks("search", self)
        check.at_least(1, "num_simulations", "num_candidates", "max_steps", "max_step_tokens")
        check.not_negative("root_candidates", "rollouts", "heuristic_weight", "halvings")
        check.not_negative("value_scale", "maxvisit_init", "gumbel_scale", "pb_c_init")
        check.positive("pb_c_base")
        check.share("lookahead", "rollout_weight", "value_threshold", "step_threshold")
        check.one_of("step", *MARKS)
        check.one_of("prior", "corrected", "length_normalised")
        check.one_of("policy", "gumbel", "puct")
        check.one_of("backup", "mean", "max")
        check.one_of("commit", "solution", "step")
        if self.rollouts and self.max_steps < 2:
            raise UserError("search.rollouts need search.max_steps of at least 2: one for the rest")
        if 0 < self.root_candidates < self.num_candidates:
            raise UserError(
                f"search.root_candidates must be 0 or at least search.num_candidates, got "
                f"{self.root_candidates} and {self.num_candidates}"
            )

    @property
    def width(self) -> int:
        """Candidates that a node has room for."""
        return max(self.num_candidates, self.root_candidates)
