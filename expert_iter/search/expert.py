"""What an expert is, and what all of them share: drawing text, and the bill."""

from typing import Any, Protocol

import jax

from expert_iter.model.state import State
from expert_iter.model.step_ends import StepEnds
from expert_iter.model.transformer import Network
from expert_iter.search.behaviour import SamplerConfig
from expert_iter.search.bill import Bill, Budget, price
from expert_iter.search.candidates import Candidates
from expert_iter.search.sampling import sample_candidates
from expert_iter.search.tree import SearchTree


class Expert(Protocol):
    """A way to spend test-time compute.

    Attributes:
      most: the largest budget, in simulations or samples.
      verdicts_after: its finished texts are verified after the search. Otherwise verdicts are given
        as it goes: it is a `StepSearch`.
      shares_draws: it draws whole solutions, and a budget only says how many of them are kept. It
        also has `draws` and `kept` (see `search.guess`).
    """

    verdicts_after: bool
    shares_draws: bool

    @property
    def most(self) -> int: ...

    def run(
        self, params, token_BxP, length_B, problem_B, keys_B, budget: int | jax.Array | Budget
    ) -> SearchTree:
        """Searches B problems. It is pure, and meant to be jitted.

        Args:
          token_BxP, length_B: prompts, padded on the right.
          problem_B: the problems' numbers, by which verdicts are asked.
          keys_B: one random key a row; a row's tree depends on nothing else beside it.
          budget: traced, so that one compilation serves all budgets. At most `most` simulations or
            samples are made.
        """


class NetworkExpert:
    """An expert over one network.

    Args:
      config: the settings of its kind of search.
      sampler: how candidates are drawn.
      steps: which tokens end a step, and all else that is to know about tokens.
    """

    def __init__(
        self,
        network: Network,
        config: Any,
        sampler: SamplerConfig,
        steps: StepEnds,
    ):
        self.network, self.config, self.sampler = network, config, sampler
        self.steps = steps

    def draw(
        self, params, state: State, keys_B, count: int, max_tokens: int, sampler=None, **options
    ) -> tuple[Candidates, jax.Array]:
        """`count` continuations of each row.

        Args:
          sampler: settings in place of the expert's own.
          options: `whole` and `live_B`, as of `sample_candidates`.
        """
        return sample_candidates(
            self.network,
            params,
            state,
            keys_B,
            num_candidates=count,
            max_tokens=max_tokens,
            config=sampler or self.sampler,
            steps=self.steps,
            **options,
        )

    def price(self, generated, prefilled, lockstep, context) -> Bill:
        """See `bill.price`."""
        shape = self.network.config, self.network.vocab_size
        return price(*shape, generated, prefilled, lockstep, context)
