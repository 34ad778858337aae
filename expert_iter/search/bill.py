"""What a search costs, per problem: tokens and model FLOPs, the same for every method."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from expert_iter.model.transformer_config import TransformerConfig


class Bill(NamedTuple):
    """What the search of each of B rows cost.

    Attributes:
      generated: [B] float. Sampled tokens, duplicates and end marks included.
      prefilled: [B] float. Tokens read in parallel: prompts, and steps read into their page.
      lockstep: [B] float. Token slots computed while sampling, padding included.
      flops: [B] float. Of the model, for generated and prefilled tokens.
    """

    generated: jax.Array
    prefilled: jax.Array
    lockstep: jax.Array
    flops: jax.Array

    def __add__(self, other: "Bill") -> "Bill":
        return Bill(*(a + b for a, b in zip(self, other, strict=True)))


class Budget(NamedTuple):
    """What a search may spend on each problem; the first that runs out ends it. May be traced.

    Attributes:
      simulations: nodes after the root, or samples.
      tokens: generated tokens.
      flops: of the model.
    """

    simulations: int | jax.Array
    tokens: float | jax.Array = math.inf
    flops: float | jax.Array = math.inf

    @classmethod
    def of(cls, budget: "int | jax.Array | Budget") -> "Budget":
        """A plain number is a number of simulations."""
        return budget if isinstance(budget, Budget) else cls(budget)

    def expansions(self, spent: Bill, cost: Bill, most: int) -> jax.Array:
        """How many more expansions each row can expect to make at this cost, with `spent` already
        paid: at least one and at most `most`.
        """
        more = jnp.minimum(
            (self.tokens - spent.generated) / jnp.maximum(cost.generated, 1),
            (self.flops - spent.flops) / jnp.maximum(cost.flops, 1),
        )
        return jnp.clip(jnp.minimum(jnp.round(more), self.simulations), 1, most).astype(int)

    def leaves_room(self, spent: Bill, cost: Bill):
        """[B] bool. Whether half of `cost` still fits, so that the mean bill meets the budget. A
        row may exceed the budget by half an expansion.
        """
        nearer = lambda paid, price, amount: paid + price / 2 <= amount  # noqa: E731
        return nearer(spent.generated, cost.generated, self.tokens) & nearer(
            spent.flops, cost.flops, self.flops
        )


def flops_per_token(
    config: TransformerConfig, vocab_size: int, context: float
) -> tuple[float, float]:
    """FLOPs of the trunk on one token that attends to `context` tokens, and of both heads on one
    token.

    Two for every multiplication with a parameter, and for every one with a cached key or value;
    element-wise work (norms, softmax, rotations) is left out.
    """
    c = config
    projections = c.width * c.head_dim * (2 * c.num_heads + 2 * c.num_kv_heads)
    per_layer = (
        2 * (projections + 3 * c.width * c.mlp_width) + 4 * context * c.num_heads * c.head_dim
    )
    return c.num_layers * per_layer, 2.0 * (vocab_size + 1) * c.width


def price(
    config: TransformerConfig, vocab_size: int, generated, prefilled, lockstep, context
) -> Bill:
    """The bill of rows that generated and prefilled so many tokens, each with a mean `context`
    (arrays `[B]`).
    """
    trunk, heads = flops_per_token(config, vocab_size, 0.0)
    attention = flops_per_token(config, vocab_size, 1.0)[0] - trunk
    flops = (generated + prefilled) * (trunk + attention * context) + generated * heads
    return Bill(generated, prefilled, lockstep, flops)
