"""What all experts have in common: how they draw text, ask for verdicts, and count the cost."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from expert_iter.model.state import State
from expert_iter.model.step_ends import StepEnds
from expert_iter.model.transformer import Network
from expert_iter.search.bill import Bill, price
from expert_iter.search.candidates import Candidates, SamplerConfig, sample_candidates
from expert_iter.search.tree import Judge


class Expert:
    """One network and one setting; subclasses have `run(params, token_BxP, length_B, problem_B,
    keys_B, budget) -> SearchTree`.

    Args:
      steps: which tokens end a step, and all else that is to know about tokens.
      judge: gives verdicts on finished texts inside the search. Only self-play has one.
    """

    def __init__(
        self,
        network: Network,
        config: Any,
        sampler: SamplerConfig,
        steps: StepEnds,
        judge: Judge | None = None,
    ):
        self.network, self.config, self.sampler = network, config, sampler
        self.steps, self.ids, self.judge = steps, steps.ids, judge

    def draw(
        self,
        params,
        state: State,
        keys_B,
        count: int,
        max_tokens: int,
        whole: bool = False,
        live_B=None,
        **sampler,
    ) -> Candidates:
        """`count` continuations of each row: steps, or whole texts to their end.

        sampler: settings of the sampler that are other than configured.
        """
        return sample_candidates(
            self.network,
            params,
            state,
            keys_B,
            num_candidates=count,
            max_tokens=max_tokens,
            config=dataclasses.replace(self.sampler, **sampler),
            step_ends=None if whole else self.steps,
            text_ends=self.ids.ends,
            pad=self.ids.pad,
            never=self.steps.never,
            live_B=live_B,
        )

    @jax.named_scope("verdicts")
    def verdicts(self, problem_B, prefix_BxDxL, token_BxKxL, asked_BxK):
        """Which of the texts asked about are right; none without a judge."""
        if self.judge is None:
            return jnp.zeros_like(asked_BxK)
        return self.judge(problem_B, prefix_BxDxL, token_BxKxL, asked_BxK) & asked_BxK

    def price(self, generated, prefilled, lockstep, context) -> Bill:
        """See `bill.price`."""
        shape = self.network.config, self.network.vocab_size
        return price(*shape, generated, prefilled, lockstep, context)
