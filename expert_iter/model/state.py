"""Prefixes that are ready to be continued: reading prompts and steps into keys, values and a last
hidden state.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from expert_iter.model.transformer import KV, Network, Past, causal_mask


class State(NamedTuple):
    """A prefix of each of B rows, ready to be continued.

    Attributes:
      kv: keys and values of the C tokens so far, in any order, each [layers, B, C, H, E].
      position_BxC: int32. Their places in the text.
      mask_BxC: bool. False where a token is padding.
      hidden_BxD: the trunk's output at the last of them.
      next_position_B: int32. The place of the next token.
    """

    kv: KV
    position_BxC: jax.Array
    mask_BxC: jax.Array
    hidden_BxD: jax.Array
    next_position_B: jax.Array


def read_prompt(network: Network, params, token_BxP, length_B) -> State:
    """Prefills prompts, padded on the right; `length_B` counts their real tokens (at least 1)."""
    return read_step(network, params, None, token_BxP, length_B)


@jax.named_scope("read")
def read_step(network: Network, params, before: State | None, token_BxL, length_B) -> State:
    """Runs the tokens of one step a row, in parallel, after the prefix `before`.

    Returns the state after the step whose kv, position and mask hold the step's own tokens only
    (its page).
    """
    B, L = token_BxL.shape
    offset = jnp.arange(L)[None, :]
    valid = offset < length_B[:, None]
    start_B = jnp.zeros(B, jnp.int32) if before is None else before.next_position_B
    position = start_B[:, None] + offset
    past = None
    if before is not None:
        seen = jnp.broadcast_to(before.mask_BxC[:, None, :], (B, L, before.mask_BxC.shape[1]))
        past = Past(before.kv, before.position_BxC, seen)
    hidden, kv = network.hidden(params, token_BxL, position, causal_mask(valid), past)
    last = jnp.maximum(length_B - 1, 0)
    return State(kv, position, valid, hidden[jnp.arange(B), last], start_B + length_B)


def extend(before: State, step: State) -> State:
    """The state after a step that `read_step` read: all the keys and values, side by side."""
    return State(
        KV(*(jnp.concatenate(pair, axis=2) for pair in zip(before.kv, step.kv, strict=True))),
        jnp.concatenate([before.position_BxC, step.position_BxC], axis=1),
        jnp.concatenate([before.mask_BxC, step.mask_BxC], axis=1),
        step.hidden_BxD,
        step.next_position_B,
    )


def repeat(state: State, times: int) -> State:
    """Each row `times` times, one after the other."""
    again = lambda x: jnp.repeat(x, times, axis=0)  # noqa: E731
    kv = KV(*(jnp.repeat(x, times, axis=1) for x in state.kv))
    return State(kv, *(again(x) for x in state[1:]))
