"""Draws the next tokens of a beam: independently, or the K best of all children by Gumbel-top-k.

Shape suffixes: B rows, K candidates, V vocabulary.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from expert_iter.search import gumbel_top_down, gumbel_top_k
from expert_iter.search.behaviour import SamplerConfig, behaviour, behaviour_logits

MOST_NOISE = 512  # tokens of a vocabulary whose noise costs less than drawing from the top down


class NextTokens(NamedTuple):
    """Of K candidates, and which candidates they continue.

    Attributes:
      parent: [B, K] int32. Number k itself, where draws are independent.
      token: [B, K] int32.
      log_pi, log_beta: [B, K] float32. Log-probability of the token under the policy and under the
        behaviour.
      perturbed: [B, K] float32. log β of the whole text with its noise; `DEAD` where there is none.
      left_out: [B] float32. The largest such value that was left out.
    """

    parent: jax.Array
    token: jax.Array
    log_pi: jax.Array
    log_beta: jax.Array
    perturbed: jax.Array
    left_out: jax.Array


def next_tokens(
    config: SamplerConfig, keys_B, number, log_beta_BxK, perturbed_BxK, done_BxK, logits_BxKxV
) -> NextTokens:
    """Draws from β of the logits.

    Args:
      keys_B: one random key a row.
      number: tells apart the draws with one key.
      log_beta_BxK, perturbed_BxK: float32. Of the texts so far, without and with noise.
      done_BxK: bool. The text is complete.
      logits_BxKxV: float32. The policy's; `DEAD` where a token is never written.
    """
    draw = _with_noise if logits_BxKxV.shape[-1] <= MOST_NOISE else _top_down
    return draw(config, keys_B, number, (log_beta_BxK, perturbed_BxK, done_BxK), logits_BxKxV)


def _with_noise(config, keys_B, number, beam, logits) -> NextTokens:
    """Gumbel noise of each token."""
    B, K, V = logits.shape
    log_pi, log_beta = jax.nn.log_softmax(logits), behaviour(logits, config)
    noise = gumbel_top_k.row_gumbel(keys_B, number, (K, V)) if config.temperature > 0 else 0.0
    if config.replacement:
        drawn = _of_each(jnp.argmax(log_beta + noise, axis=-1), beam)
    else:
        drawn = gumbel_top_k.best_children(*beam, log_beta, noise)
    parent, token, *noisy = drawn
    chosen = jnp.arange(B)[:, None], parent, token
    return NextTokens(parent, token, log_pi[chosen], log_beta[chosen], *noisy)


def _top_down(config, keys_B, number, beam, logits) -> NextTokens:
    """Equal in distribution to `_with_noise`."""
    policy = blocks = gumbel_top_down.in_blocks(logits)
    if not config.is_policy:
        blocks = gumbel_top_down.in_blocks(behaviour_logits(logits, config))
    uniform = gumbel_top_down.row_uniform(keys_B, number, (logits.shape[1], 3))
    if config.replacement:
        drawn = _of_each(gumbel_top_down.draw_each(uniform[..., :2], blocks), beam)
    else:
        drawn = gumbel_top_down.best_children(*beam, blocks, uniform)
    parent, token, *noisy = drawn
    log_pi, log_beta = (gumbel_top_down.log_probs(x, parent, token) for x in (policy, blocks))
    return NextTokens(parent, token, log_pi, log_beta, *noisy)


def _of_each(token_BxK, beam):
    """Independent draws: each candidate goes on, and its noise tells nothing."""
    _, perturbed, _ = beam
    return jnp.arange(token_BxK.shape[1])[None], token_BxK, perturbed, perturbed[:, 0]
