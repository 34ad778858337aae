"""Guess-and-check (STaR, ReST-EM, best-of-N): M whole solutions a problem, with or without
replacement.

The same sampler as the search's, with the end of the text as the only end of a "step"; the result
is a tree of one node.
"""

import dataclasses

import jax
import jax.numpy as jnp

from expert_iter.checks import Checks
from expert_iter.model.state import read_prompt, repeat
from expert_iter.search.bill import Bill, Budget
from expert_iter.search.candidates import DEAD, Candidates, merge_duplicates
from expert_iter.search.expert import Expert
from expert_iter.search.tree import SearchTree

GROUP = (
    8  # independent draws decoded together: in attention each pays for the keys of its whole group
)


@dataclasses.dataclass(frozen=True)
class GuessConfig:
    """Whole solutions sampled by the expert `guess`.

    Attributes:
      num_samples: solutions a problem.
      max_tokens: of a solution.
    """

    num_samples: int = 32
    max_tokens: int = 24

    def __post_init__(self):
        Checks("guess", self).at_least(1, "num_samples", "max_tokens")


class Guess(Expert):
    """Draws solutions; `run` is pure and meant to be jitted. It asks no judge."""

    config: GuessConfig

    @property
    def most(self) -> int:
        """The largest budget, in samples."""
        return self.config.num_samples

    def run(self, params, token_BxP, length_B, problem_B, keys_B, budget=None) -> SearchTree:
        """As `TreeSearch.run`; simulations are samples, and of the `config.num_samples` that are
        drawn the first ones that the budget pays for are kept (all without a budget).
        """
        drawn = self.draws(params, token_BxP, length_B, problem_B, keys_B)
        return self.kept(drawn, length_B, budget)

    def draws(self, params, token_BxP, length_B, problem_B, keys_B) -> Candidates:
        """All of them, which no budget has a say in: the costly part of `run`. (What is one number
        in other `Candidates`, how deep the loop ran, is there for each row.)
        """
        B, M = token_BxP.shape[0], self.config.num_samples
        prompt = read_prompt(self.network, params, token_BxP, length_B)
        # Independent draws need not see each other: they are decoded in groups, as rows of their
        # own.
        groups = M // GROUP if self.sampler.replacement and M % GROUP == 0 else 1
        drawn = self.draw(
            params,
            repeat(prompt, groups),
            jax.vmap(lambda key: jax.random.split(key, groups))(keys_B).reshape(B * groups),
            M // groups,
            self.config.max_tokens,
            whole=True,
        )
        candidates = jax.tree.map(
            lambda x: x.reshape(B, M, *x.shape[2:]), drawn._replace(loop_steps=None)
        )
        return candidates._replace(loop_steps=jnp.full(B, drawn.loop_steps))

    def kept(self, drawn: Candidates, length_B, budget=None) -> SearchTree:
        """The tree of those of the `draws` that the budget pays for."""
        exists, (B, M) = drawn.valid_BxK, drawn.valid_BxK.shape
        if self.sampler.replacement:
            exists = jnp.ones_like(exists)
        kept, bill = self._pay(length_B, drawn.length_BxK, exists, drawn.loop_steps, budget)
        valid, count, prior = kept, kept.astype(int), drawn.prior_logit_BxK
        if self.sampler.replacement:
            valid, count = merge_duplicates(drawn.token_BxKxL, kept)
            ratio = self.sampler.log_ratio(drawn.log_pi_BxK, drawn.log_beta_BxK)
            prior = jnp.log(jnp.maximum(count, 1)) + ratio
        drawn = drawn._replace(
            valid_BxK=valid, count_BxK=count, prior_logit_BxK=jnp.where(valid, prior, DEAD)
        )
        finished = drawn.ended_BxK & kept
        value = jnp.where(finished, drawn.value_BxK, 0.0)
        node = lambda x: x[:, None]  # noqa: E731
        return SearchTree(
            live=jnp.ones((B, 1), bool),
            parent=jnp.full((B, 1), -1),
            action=jnp.full((B, 1), -1),
            token=node(drawn.token_BxKxL),
            length=node(drawn.length_BxK),
            valid=node(drawn.valid_BxK),
            count=node(drawn.count_BxK),
            prior_logit=node(drawn.prior_logit_BxK),
            log_pi=node(drawn.log_pi_BxK),
            log_beta=node(drawn.log_beta_BxK),
            path_log_pi=jnp.zeros((B, 1)),
            token_value=node(drawn.token_value_BxKxL),
            model_value=node(drawn.value_BxK),
            value=node(value),
            finished=node(finished),
            won=jnp.zeros((B, 1, M), bool),
            child=jnp.full((B, 1, M), -1),
            visits=jnp.zeros((B, 1, M), jnp.int32),
            q=node(value),
            answerable=jnp.ones((B, 1, M), bool),
            bill=bill,
        )

    def _pay(
        self, prompt_B, length_BxM, exists_BxM, loop_steps_B, budget
    ) -> tuple[jax.Array, Bill]:
        """Which draws the budget pays for, and the bill. Draws are paid one after the other, for as
        long as one more like those before leads nearer to the budget.
        """
        M = length_BxM.shape[1]
        nothing = jnp.zeros_like(prompt_B)
        prompt = self.price(nothing, prompt_B, nothing, prompt_B)
        context = prompt_B[:, None] + length_BxM / 2
        lockstep = jnp.broadcast_to(loop_steps_B[:, None], length_BxM.shape)
        draw = self.price(length_BxM, 0 * length_BxM, lockstep, context)
        draw = jax.tree.map(lambda x: x * exists_BxM, draw)
        # Before each draw: what was spent, and what a draw cost on average.
        before = jax.tree.map(lambda x: jnp.cumsum(x, axis=1) - x, draw)
        number = jnp.arange(M)
        mean = jax.tree.map(lambda x: x / jnp.maximum(number, 1), before)
        spent = Bill(*(x[:, None] + y for x, y in zip(prompt, before, strict=True)))
        budget = Budget(M) if budget is None else Budget.of(budget)
        goes_on = budget.leaves_room(spent, mean) & (number < budget.simulations) | (number == 0)
        kept = jnp.cumsum(~goes_on, axis=1) == 0
        total = jax.tree.map(lambda x: jnp.sum(x * kept, axis=1), draw)
        return kept & exists_BxM, prompt + total
