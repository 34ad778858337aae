"""Gumbel-top-k from the top down, for vocabularies so large that noise for each token costs more
than the network.

The largest perturbed log-probability among a parent's children is the parent's own, and belongs to
a token drawn from β. The next is a Gumbel number, of the mass that is left, below the one before;
it belongs to a token drawn from what is left; and so on (Maddison, Tarlow and Minka 2014, "A*
Sampling", section 3). So children come in order, each for three random numbers, and nothing is
drawn for a token that cannot win.

Shape suffixes: B rows, K candidates, V vocabulary, S tokens a block, N blocks.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from expert_iter.search.behaviour import DEAD

# Tokens of a block. The sums of the blocks and one block are what a draw looks at.
_MOST, _LEAST = 256, 32


class Blocks(NamedTuple):
    """Distributions over tokens, by blocks. Block n holds the tokens n, n + N, n + 2 N and so on:
    where the vocabulary is sharded, each device has a part of every block.

    Attributes:
      logit: [B, K, S, N] float32. Not normalised; `DEAD` where there is no token.
      peak: [B, K] float32. The largest logit.
      mass: [B, K, N] float32. Sum of exp(logit − peak) over each block.
    """

    logit: jax.Array
    peak: jax.Array
    mass: jax.Array

    @property
    def log_total(self):
        """[B, K] float32. The logarithm of the sum of exp(logit)."""
        return self.peak + jnp.log(jnp.sum(self.mass, axis=-1))


def row_uniform(keys_B, number, shape):
    """Random numbers in [0, 1), [B, *shape]; `number` tells apart those of one key."""
    draw = lambda key: jax.random.uniform(jax.random.fold_in(key, number), shape)  # noqa: E731
    return jax.vmap(draw)(keys_B)


def in_blocks(logit_BxKxV) -> Blocks:
    """Of logits that need not be normalised; `DEAD` where a token cannot be drawn."""
    B, K, V = logit_BxKxV.shape
    S = next(size for size in (_MOST >> i for i in range(9)) if V % size == 0)
    if S < _LEAST:
        S, padding = _LEAST, -V % _LEAST
        logit_BxKxV = jnp.pad(logit_BxKxV, ((0, 0), (0, 0), (0, padding)), constant_values=DEAD)
    logit = logit_BxKxV.reshape(B, K, S, -1)
    peak = jnp.max(logit_BxKxV, axis=-1)
    return Blocks(logit, peak, jnp.sum(jnp.exp(logit - peak[..., None, None]), axis=-2))


def log_probs(blocks: Blocks, parent, token):
    """[B, M] float32. Log-probability of token[b, m] by distribution parent[b, m]."""
    rows, N = jnp.arange(token.shape[0])[:, None], blocks.mass.shape[-1]
    logit = blocks.logit[rows, parent, token // N, token % N]
    return logit - blocks.log_total[rows, parent]


def draw_each(uniform_BxKx2, blocks: Blocks):
    """[B, K] int32. A token from each distribution, independently."""
    B, K = blocks.peak.shape
    rows, parents = jnp.arange(B)[:, None], jnp.arange(K)
    block = _draw(uniform_BxKx2[..., 0], blocks.mass)
    weight = jnp.exp(blocks.logit[rows, parents, :, block] - blocks.peak[..., None])
    return _draw(uniform_BxKx2[..., 1], weight) * blocks.mass.shape[-1] + block


def best_children(log_beta_BxK, perturbed_BxK, done_BxK, blocks: Blocks, uniform_BxKx3):
    """As `gumbel_top_k.best_children`, which has noise of each token in place of random numbers of
    each child: equal in distribution.

    Args:
      blocks: of the distributions of the parents' next tokens.
      uniform_BxKx3: float32 in [0, 1). Random numbers for K children.
    """
    B, K = log_beta_BxK.shape
    S, N = blocks.logit.shape[-2:]
    rows = jnp.arange(B)
    total = jnp.sum(blocks.mass, axis=-1)

    def next_child(carry, numbered):
        offer, mass, taken_from, taken = carry
        number, uniform = numbered
        parent = jnp.argmax(offer, axis=-1)
        perturbed = offer[rows, parent]
        of_parent = mass[rows, parent]
        block = _draw(uniform[:, 0], of_parent)
        token_BxS = jnp.arange(S) * N + block[:, None]
        gone = (taken_from == parent[:, None])[:, None] & (taken[:, None] == token_BxS[..., None])
        weight = jnp.exp(blocks.logit[rows, parent, :, block] - blocks.peak[rows, parent][:, None])
        weight = jnp.where(jnp.any(gone, axis=-1), 0.0, weight)
        drawn = _draw(uniform[:, 1], weight)
        # Sums of what is left: a difference of sums would have no digits where little is.
        rest = jnp.sum(weight.at[rows, drawn].set(0.0), axis=-1)
        of_parent = of_parent.at[rows, block].set(rest)
        left = jnp.sum(of_parent, axis=-1) / total[rows, parent]
        offered = _next_below(perturbed, log_beta_BxK[rows, parent] + jnp.log(left), uniform[:, 2])
        more = (perturbed > DEAD / 2) & ~done_BxK[rows, parent]
        token = block + drawn * N
        carry = (
            offer.at[rows, parent].set(jnp.where(more, offered, DEAD)),
            mass.at[rows, parent].set(of_parent),
            taken_from.at[:, number].set(parent),
            taken.at[:, number].set(token),
        )
        return carry, (parent, token, perturbed)

    nothing = jnp.full((B, K), -1)
    carry = perturbed_BxK, blocks.mass, nothing, nothing
    numbered = jnp.arange(K), jnp.moveaxis(uniform_BxKx3, 1, 0)
    (offer, *_), chosen = jax.lax.scan(next_child, carry, numbered)
    parent, token, perturbed = (jnp.moveaxis(x, 0, 1) for x in chosen)
    return parent, token, perturbed, jnp.max(offer, axis=-1)


def _next_below(bound, log_mass, uniform):
    """A Gumbel number with this location, given that it is below the bound; `DEAD` without mass."""
    wait = jnp.log(jnp.maximum(-jnp.log1p(-uniform), 1e-30)) - log_mass
    return jnp.maximum(-jnp.logaddexp(-bound, wait), DEAD)


def _draw(uniform, weight):
    """[...] int. An index in proportion to weight [..., n], which is not negative."""
    # A parallel sum need not grow with each term: what has no weight is never drawn even so.
    below = jnp.where(weight > 0, jnp.cumsum(weight, axis=-1), 0.0)
    reached = uniform * jnp.max(below, axis=-1)
    return jnp.argmax(below > reached[..., None], axis=-1)
