"""Guess-and-check (STaR, ReST-EM, best-of-N): M whole solutions a problem, with or without
replacement.

The same sampler as the search's, with the end of the text as the only end of a "step"; the result
is a tree of one node.
"""

import dataclasses

import jax
import jax.numpy as jnp

from expert_iter.model.state import read_prompt, repeat
from expert_iter.range_checks import Checks
from expert_iter.search.behaviour import DEAD
from expert_iter.search.bill import Bill, Budget
from expert_iter.search.candidates import Candidates, merge_duplicates
from expert_iter.search.expert import NetworkExpert
from expert_iter.search.tree import SearchTree

# Independent draws decoded together: in attention each pays for the keys of its whole group.
GROUP = 8


@dataclasses.dataclass(frozen=True)
class GuessConfig:
    """Whole solutions sampled by the expert `guess`.

    Attributes:
      num_samples: solutions that are drawn for a problem.
      max_tokens: most tokens of a solution.
    """

    num_samples: int = 32
    max_tokens: int = 24

    def __post_init__(self):
        Checks("guess", self).at_least(1, "num_samples", "max_tokens")


class Guess(NetworkExpert):
    """Draws solutions. They are verified after the search."""

    verdicts_after = shares_draws = True
    config: GuessConfig

    @property
    def most(self) -> int:
        return self.config.num_samples

    @property
    def groups(self) -> int:
        """Independent draws need not see each other: they are decoded in groups, as rows of their
        own.
        """
        M = self.config.num_samples
        return M // GROUP if self.sampler.replacement and M % GROUP == 0 else 1

    def run(self, params, token_BxP, length_B, problem_B, keys_B, budget=None) -> SearchTree:
        """See `Expert.run`. All `config.num_samples` solutions are drawn, and the first ones that
        the budget pays for are kept; all without a budget.
        """
        drawn = self.draws(params, token_BxP, length_B, problem_B, keys_B)
        return self.kept(drawn, length_B, budget)

    def draws(self, params, token_BxP, length_B, problem_B, keys_B) -> tuple[Candidates, jax.Array]:
        """All of them, regardless of the budget: the costly part of `run`.

        Returns:
          The candidates `[B, M]`, and how many tokens deep the loop ran for each, `[B, M]`.
        """
        B, M = token_BxP.shape[0], self.config.num_samples
        prompt = read_prompt(self.network, params, token_BxP, length_B)
        groups = self.groups
        keys = jax.vmap(lambda key: jax.random.split(key, groups))(keys_B).reshape(B * groups)
        rows, each = repeat(prompt, groups), M // groups
        drawn, loop_steps = self.draw(params, rows, keys, each, self.config.max_tokens, whole=True)
        drawn = jax.tree.map(lambda x: x.reshape(B, M, *x.shape[2:]), drawn)
        return drawn, jnp.repeat(loop_steps, each).reshape(B, M)

    def kept(self, drawn: tuple[Candidates, jax.Array], length_B, budget=None) -> SearchTree:
        """The tree of those of the `draws` that the budget pays for."""
        c, loop_steps_BxM = drawn
        exists, (B, M) = c.valid, c.valid.shape
        if self.sampler.replacement:
            exists = jnp.ones_like(exists)
        kept, bill = self._pay(length_B, c, exists, loop_steps_BxM, budget)
        valid, count, prior = kept, kept.astype(int), c.prior_logit
        if self.sampler.replacement:
            valid, count = merge_duplicates(c.token, kept)
            prior = jnp.log(jnp.maximum(count, 1)) + self.sampler.log_ratio(c.log_pi, c.log_beta)
        finished = c.finished & kept
        c = c._replace(
            valid=valid,
            count=count,
            prior_logit=jnp.where(valid, prior, DEAD),
            finished=finished,
        )
        value = jnp.where(finished, c.model_value, 0.0)[:, None]
        nowhere = jnp.full((B, 1), -1)
        return SearchTree(
            live=jnp.ones((B, 1), bool),
            parent=nowhere,
            action=nowhere,
            path_log_pi=jnp.zeros((B, 1)),
            candidates=jax.tree.map(lambda x: x[:, None], c),
            value=value,
            won=jnp.zeros((B, 1, M), bool),
            child=jnp.full((B, 1, M), -1),
            visits=jnp.zeros((B, 1, M), jnp.int32),
            q=value,
            answerable=jnp.ones((B, 1, M), bool),
            bill=bill,
        )

    def _pay(
        self, prompt_B, drawn: Candidates, exists_BxM, loop_steps_BxM, budget
    ) -> tuple[jax.Array, Bill]:
        """Which draws the budget pays for, and the bill. Draws are paid one after the other, for as
        long as one more like those before leads nearer to the budget.
        """
        M = exists_BxM.shape[1]
        nothing = jnp.zeros_like(prompt_B)
        prompt = self.price(nothing, prompt_B, nothing, prompt_B)
        context, written = prompt_B[:, None] + drawn.length / 2, drawn.written
        draw = self.price(written, drawn.length - written, loop_steps_BxM, context)
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
