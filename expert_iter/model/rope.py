"""Rotary position embedding (Su et al. 2021), in the halves convention of Llama and Gemma."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from expert_iter.model.transformer_config import TransformerConfig


def rope_frequencies(config: TransformerConfig):
    """Angle per position `[layers, E / 2]` of each pair of a head's dimensions."""
    c, half = config, config.head_dim // 2
    plain = lambda base: base ** (-jnp.arange(half, dtype=jnp.float32) / half)  # noqa: E731
    frequency = plain(c.rope_base)
    if c.rope_scaling == "linear":
        frequency = frequency / c.rope_factor
    elif c.rope_scaling == "llama3":
        turns = c.rope_original_length * frequency / (2 * jnp.pi)
        keep = (turns - c.rope_low_frequency) / (c.rope_high_frequency - c.rope_low_frequency)
        keep = jnp.clip(keep, 0.0, 1.0)
        frequency = (1 - keep) * frequency / c.rope_factor + keep * frequency
    if c.local_rope_base:
        is_global = jnp.array(c.is_global)[:, None]
        return jnp.where(is_global, frequency, plain(c.local_rope_base))
    return jnp.broadcast_to(frequency, (c.num_layers, half))


class Rotation(NamedTuple):
    """Cosine and sine `[B, Q, 1, E / 2]` of each token's rotary angles."""

    cos: jax.Array
    sin: jax.Array


def rotation(position_BxQ, frequency) -> Rotation:
    """The angles of tokens at these positions; frequency: angles per position `[E / 2]`."""
    angle = position_BxQ[..., None, None].astype(jnp.float32) * frequency
    return Rotation(jnp.cos(angle), jnp.sin(angle))


def rotate(x_BxQxNxE, by: Rotation):
    """Queries or keys with their positions in them."""
    a, b = jnp.split(x_BxQxNxE.astype(jnp.float32), 2, axis=-1)
    turned = [a * by.cos - b * by.sin, b * by.cos + a * by.sin]
    return jnp.concatenate(turned, axis=-1).astype(x_BxQxNxE.dtype)
