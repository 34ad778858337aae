"""All experts by name. Each is one function type over the same network, pages and tasks:

    (params, problems, key, budget) -> SearchTree: finished solutions with scores, and a bill

(`Player.play`, which compiles the `run` of an `Expert`). So each can answer in an evaluation,
make training data in the loop (`run.expert`), and be compared with the others at equal bill.

A new expert is a file with a rule, and a line here.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

from expert_iter.errors import UserError
from expert_iter.model.step_ends import StepEnds
from expert_iter.model.transformer import Network
from expert_iter.search import beam, best_first, depth_first
from expert_iter.search.behaviour import SamplerConfig
from expert_iter.search.expert import Expert
from expert_iter.search.frontier import FrontierSearch, Rule
from expert_iter.search.guess import Guess, GuessConfig
from expert_iter.search.mcts import TreeSearch
from expert_iter.search.search_config import SearchConfig
from expert_iter.search.stepwise_guess import StepwiseGuess


class ExpertSettings(NamedTuple):
    """The settings of experts; each takes what concerns it.

    Attributes:
      search: of searches over steps.
      sampler: how candidates are drawn.
      guess: of whole solutions.
    """

    search: SearchConfig
    sampler: SamplerConfig
    guess: GuessConfig


Build = Callable[[Network, ExpertSettings, StepEnds], Expert]


def guesses(samples: int | None = None, **sampler) -> Build:
    own = {} if samples is None else {"num_samples": samples}

    def build(network, settings, steps):
        guess = dataclasses.replace(settings.guess, **own)
        changed = dataclasses.replace(settings.sampler, **sampler)
        if steps.answered:
            return StepwiseGuess(network, guess, changed, steps, search=settings.search)
        return Guess(network, guess, changed, steps)  # verified after the search

    return build


def grown_by(rule: Rule, **search) -> Build:
    return _over_steps(functools.partial(FrontierSearch, rule), search)


def mcts(**search) -> Build:
    return _over_steps(TreeSearch, search)


def _over_steps(kind: Callable[..., Expert], search: dict) -> Build:
    def build(network, settings, steps):
        changed = dataclasses.replace(settings.search, **search)
        return kind(network, changed, settings.sampler, steps)

    return build


EXPERTS: dict[str, Build] = {
    "greedy": guesses(samples=1, temperature=0.0, replacement=True),
    "guess": guesses(),  # by the sampler as it is configured
    "samples": guesses(replacement=True),
    "samples_without_replacement": guesses(replacement=False),
    "beam": grown_by(beam.beam),
    "beam_rollouts": grown_by(beam.beam, rollouts=1, rollout_weight=1.0),
    "beam_mixed": grown_by(beam.beam, rollouts=1, rollout_weight=0.5),
    "diverse_beams": grown_by(beam.diverse),
    "thoughts_breadth": grown_by(beam.tree_of_thoughts_breadth),
    "thoughts_depth": grown_by(depth_first.tree_of_thoughts_depth),
    "backtracking": grown_by(depth_first.backtracking),
    "best_first": grown_by(best_first.by_likelihood),
    "best_first_rewards": grown_by(best_first.by_step_rewards),
    "mcts": mcts(),
    "mcts_puct": mcts(policy="puct"),
    "mcts_max": mcts(backup="max"),
    "mcts_by_step": mcts(commit="step"),
    "mcts_rollouts": mcts(rollouts=1, rollout_weight=1.0),
    "mcts_mixed": mcts(rollouts=1, rollout_weight=0.5),
    "mcts_length_normalised": mcts(prior="length_normalised"),
}


def build(
    name: str,
    network: Network,
    settings: ExpertSettings,
    steps: StepEnds,
) -> Expert:
    """The expert of this name. Raises UserError where there is none."""
    if name not in EXPERTS:
        raise UserError(f"there is no expert {name!r}; there are {', '.join(EXPERTS)}")
    return EXPERTS[name](network, settings, steps)
