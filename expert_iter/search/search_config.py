"""Settings of every search over steps."""

import dataclasses

from expert_iter.errors import UserError
from expert_iter.model.step_ends import MARKS
from expert_iter.range_checks import Checks


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """Search over steps. Some keys are for some experts alone.

    Attributes:
      step: what a step is, for all experts and for learning: a 'line', or a 'paragraph' (up to an
        empty line).
      num_simulations: nodes after the root.
      num_candidates: steps that are drawn at a node.
      root_candidates: steps that are drawn at the root. 0: num_candidates.
      max_steps: most steps of a solution.
      max_step_tokens: most tokens of a step.
      max_observation_tokens: most tokens of what a world answers to a step; a longer answer counts
        as illegal. Nothing where the task has no world.
      prior: 'corrected' for the sampler (log c + log π − log β, or log π − log q), or
        'length_normalised', the mean log π of a step's tokens (TS-LLM, AlphaMath).
      rollouts: how many are drawn from each candidate to the end of the text.
      rollout_weight: their share in a candidate's value, against the value head's.
      lookahead: weight, in a new node's value, of what its candidates are worth against the value
        head at the node.
      stop_when_solved: a tree with a verified solution stops. For training alone: the verifier
        knows.
      value_threshold: depth-first search gives up a step of less value.
      step_threshold: in greedy search with backtracking, a step that leaves less than this share of
        the value is a bad one.
      heuristic_weight: λ of best-first search, f = g + λ · log v.
      policy: of MCTS: 'gumbel' (Gumbel MuZero) or 'puct' (MuZero).
      backup: of MCTS: the 'mean' of the simulations, or the 'max' over candidates.
      commit: of MCTS: 'solution' searches for the whole solution. 'step' chooses a step after each
        1/max_steps of the simulations and searches on below it.
      value_scale: of MCTS: σ(q) = (maxvisit_init + max N) · value_scale · q.
      maxvisit_init: see value_scale.
      gumbel_scale: of MCTS: noise of the root's choice. 0: none.
      pb_c_init: of PUCT: weight of the prior.
      pb_c_base: of PUCT: how slowly that weight grows with visits.
    """

    step: str = "line"
    num_simulations: int = 16
    num_candidates: int = 8
    root_candidates: int = 0
    max_steps: int = 2
    max_step_tokens: int = 12
    max_observation_tokens: int = 32
    prior: str = "corrected"
    rollouts: int = 0
    rollout_weight: float = 0.5
    lookahead: float = 1.0
    stop_when_solved: bool = False
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
        check.not_negative("max_observation_tokens")
        check.not_negative("root_candidates", "rollouts", "heuristic_weight")
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
