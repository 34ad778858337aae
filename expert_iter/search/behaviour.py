"""The behaviour β, which candidates are drawn from: the policy at a temperature, cut to likely
tokens.
"""

import dataclasses

import jax
import jax.numpy as jnp

from expert_iter.range_checks import Checks

# Log-weight of what does not exist. It is finite, so that the difference of two of them is not NaN.
DEAD = -1e9


@dataclasses.dataclass(frozen=True)
class SamplerConfig:
    """How candidates are drawn.

    Attributes:
      replacement: draws are independent, else without replacement (stochastic beam search).
      temperature: of the policy; 0 is greedy.
      top_k: only so many of the likeliest tokens; 0 is all.
      top_p: only the likeliest tokens that together have this probability, in (0, 1].
      max_log_ratio: bound on |log π − log β| of a whole candidate. Importance weights of long
        steps would explode.
      halvings: how often rows of a batch that have ended are left behind: once half of those that
        are there have, the others go on without them. Each time compiles the loop once more, and
        copies keys and values. It pays where steps differ in length and a step of half the rows
        takes less time.
    """

    replacement: bool = False
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    max_log_ratio: float = 5.0
    halvings: int = 0

    def __post_init__(self):
        check = Checks("sampler", self)
        check.not_negative("temperature", "top_k", "max_log_ratio", "halvings")
        check.positive("top_p")
        check.share("top_p")

    @property
    def is_policy(self) -> bool:
        """Whether β is the policy itself."""
        return self.temperature == 1 and not self.top_k and self.top_p == 1

    def log_ratio(self, log_pi, log_beta):
        """log π − log β, bounded."""
        return jnp.clip(log_pi - log_beta, -self.max_log_ratio, self.max_log_ratio)


def behaviour(logits, config: SamplerConfig):
    """log β of the policy's logits, over the last axis. Tokens that are cut get `DEAD`."""
    kept = behaviour_logits(logits, config)
    return jnp.where(kept > DEAD / 2, jax.nn.log_softmax(kept), DEAD)


def behaviour_logits(logits, config: SamplerConfig):
    """log β but for a constant: temperature, then top-k, then top-p. Tokens that are cut get
    `DEAD`.
    """
    if config.temperature == 0:
        best = jax.nn.one_hot(jnp.argmax(logits, axis=-1), logits.shape[-1], dtype=bool)
        return jnp.where(best, 0.0, DEAD)
    scaled = logits / config.temperature
    keep = logits > DEAD / 2  # a high temperature must not revive what is never written
    if config.top_k:
        kth = top_k(scaled, min(config.top_k, logits.shape[-1]))[0][..., -1:]
        keep &= scaled >= kth
    if config.top_p < 1:
        ordered = jnp.sort(jax.nn.log_softmax(scaled), axis=-1, descending=True)
        mass_before = jnp.cumsum(jnp.exp(ordered), axis=-1) - jnp.exp(ordered)
        last_kept = jnp.sum(mass_before < config.top_p, axis=-1, keepdims=True) - 1
        keep &= jax.nn.log_softmax(scaled) >= jnp.take_along_axis(ordered, last_kept, axis=-1)
    return jnp.where(keep, scaled, DEAD)


def top_k(x, k: int):
    """`jax.lax.top_k` with its results behind fences.

    Where XLA:CPU can see how the result is sliced, it sorts all of x, at ten times the cost.
    """
    value, index = jax.lax.top_k(x, k)
    # One fence each: around both, XLA:CPU dies compiling for more than one device (jaxlib 0.10.2).
    return jax.lax.optimization_barrier(value), jax.lax.optimization_barrier(index)
