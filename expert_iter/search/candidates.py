"""What a sampler draws: continuations of states, with the sampler's true log-probability.

Shape suffixes: B rows, K candidates, L tokens a candidate at most.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Candidates(NamedTuple):
    """K continuations of each of some states, as the sampler drew them.

    "..." is the states: [B] rows, or [B, N] nodes of their trees.

    Attributes:
      token: [..., K, L] int32. What was written, end mark included, then padding.
      length: [..., K] int32. How many tokens were written.
      log_pi: [..., K] float32. Log-probability under the policy.
      log_beta: [..., K] float32. Log-probability under the behaviour that it was drawn from.
      prior_logit: [..., K] float32. Logit of the search's prior: log c + log π − log β (c
        independent draws of the same), or log π − log q (without replacement, q the probability to
        be drawn). −1e9 where it is not valid.
      count: [..., K] int32. How often it was drawn.
      valid: [..., K] bool. It exists, and repeats none before it.
      finished: [..., K] bool. It exists, and its last token is an end of the text.
      model_value: [..., K] float32 in [0, 1]. The value head's estimate at the last token.
      token_value: [..., K, L] float32 in [0, 1]. The same after each token; 0 after the last.
      observed: [..., K, L] bool. Which tokens a world wrote; None where there is no world.
    """

    token: jax.Array
    length: jax.Array
    log_pi: jax.Array
    log_beta: jax.Array
    prior_logit: jax.Array
    count: jax.Array
    valid: jax.Array
    finished: jax.Array
    model_value: jax.Array
    token_value: jax.Array
    observed: jax.Array | None = None

    @property
    def written(self) -> jax.Array:
        """[..., K] int32. How many of its tokens the network wrote."""
        return self.length if self.observed is None else self.length - self.observed.sum(axis=-1)


def merge_duplicates(token_BxKxL, exists_BxK=None):
    """Finds the first candidate of each text.

    Padding needs no token of its own for this: a text's own tokens tell where it ends.

    Args:
      token_BxKxL: int32.
      exists_BxK: bool. Only those count (default: all); they come before those that do not.

    Returns:
      [B, K] bool, the first of its text. [B, K] int32, how often its text occurs; 0 for others.
    """
    B, K = token_BxKxL.shape[:2]
    exists = jnp.ones((B, K), bool) if exists_BxK is None else exists_BxK
    same = jnp.all(token_BxKxL[:, :, None] == token_BxKxL[:, None], axis=-1) & exists[:, None]
    first = ~jnp.any(same & jnp.tril(jnp.ones((K, K), bool), -1), axis=-1) & exists
    return first, jnp.where(first, jnp.sum(same, axis=-1), 0)
