"""Rollouts: completions of each candidate of a node to the end of the text, and what came of them.

Shape suffixes: B rows, K candidates, D steps a prefix at most, L tokens a step, m rollouts from a
candidate, R = K · m from a node's candidates.
"""

import dataclasses

import jax
import jax.numpy as jnp

from expert_iter.model.state import State, extend, read_step, repeat
from expert_iter.search.behaviour import DEAD, SamplerConfig
from expert_iter.search.bill import Bill
from expert_iter.search.candidates import Candidates
from expert_iter.search.expert import NetworkExpert
from expert_iter.search.node import Rollouts


def roll_out(
    expert: NetworkExpert, params, state: State, keys_B, drawn: Candidates, open_BxK
) -> tuple[Rollouts, Bill]:
    """Samples from each open candidate to the end of the text, `expert.config.rollouts` times.

    Args:
      state: the node's.
      drawn: its candidates.

    Returns:
      As `rolled_out`.
    """
    c, live = expert.config, open_BxK.reshape(-1)
    after, keys = after_candidates(expert, params, state, keys_B, drawn, open_BxK)
    left = (c.max_steps - 1) * c.max_step_tokens
    how = {"whole": True, "live_B": live}
    ends, loop_steps = expert.draw(params, after, keys, c.rollouts, left, sampler(expert), **how)
    return rolled_out(expert, drawn, open_BxK, after.next_position_B, ends, loop_steps)


def sampler(expert: NetworkExpert) -> SamplerConfig:
    """Rollouts are independent."""
    return dataclasses.replace(expert.sampler, replacement=True)


def after_candidates(
    expert: NetworkExpert, params, state: State, keys_B, drawn: Candidates, open_BxK
) -> tuple[State, jax.Array]:
    """Reads the step of each open candidate: the states [B · K] that rollouts continue, and keys
    for them. Arguments as of `roll_out`.
    """
    B, K = open_BxK.shape
    before = repeat(state, K)
    token, length = _flat(drawn.token), jnp.where(_flat(open_BxK), _flat(drawn.length), 0)
    step = read_step(expert.network, params, before, token, length)
    keys_BxK = jax.vmap(lambda key: jax.random.split(jax.random.fold_in(key, 1), K))(keys_B)
    return extend(before, step), _flat(keys_BxK)


def rolled_out(
    expert: NetworkExpert, drawn: Candidates, open_BxK, place, ends: Candidates, loop_steps
) -> tuple[Rollouts, Bill]:
    """What was sampled behind the candidates, as texts that begin with their step.

    Args:
      drawn: [B, K]. The node's candidates.
      place: [B · K] int32. Where in the text each rollout begins.
      ends: [B · K, m]. What was sampled.
      loop_steps: [B · K] int32. How many tokens deep the loop ran.

    Returns:
      The rollouts `[B, R]`, those of one candidate side by side and not yet judged, and what they
      cost `[B]`.
    """
    (B, K, L), (m, left) = drawn.token.shape, ends.token.shape[1:]
    R = K * m
    ends = jax.tree.map(lambda x: x.reshape(B, R, *x.shape[2:]), ends)

    def own(x):  # what the candidate of each rollout has
        return jnp.repeat(x, m, axis=1)

    # Texts start with their step: its tokens, and the rollout's right after them.
    step_length = own(drawn.length)
    number = jnp.arange(L + left) - step_length[..., None]

    def join(first_BxKxL, rest, filler):
        first = jnp.pad(own(first_BxKxL), ((0, 0), (0, 0), (0, left)))
        rest = jnp.take_along_axis(rest, jnp.clip(number, 0, left - 1), axis=2)
        return jnp.where(number < 0, first, jnp.where(number < left, rest, filler))

    valid, observed = own(open_BxK), None
    if drawn.observed is not None:
        observed = join(drawn.observed, ends.observed, False)
    texts = Candidates(
        token=join(drawn.token, ends.token, expert.steps.ids.pad),
        length=step_length + ends.length,
        log_pi=own(drawn.log_pi) + ends.log_pi,
        log_beta=own(drawn.log_beta) + ends.log_beta,
        prior_logit=jnp.full((B, R), DEAD),
        count=valid.astype(drawn.count.dtype),
        valid=valid,
        finished=ends.finished & valid,
        model_value=ends.model_value,
        token_value=join(drawn.token_value, ends.token_value, 0),
        observed=observed,
    )
    rollouts = Rollouts(texts, ends.model_value, jnp.zeros_like(texts.finished))

    generated = jnp.sum(ends.written * valid, axis=-1)
    heard = jnp.sum((ends.length - ends.written) * valid, axis=-1)
    read = jnp.sum(jnp.where(open_BxK, drawn.length, 0), axis=-1)
    begin = jnp.sum(jnp.where(open_BxK, place.reshape(B, K), 0), axis=-1)
    tried = jnp.maximum(jnp.sum(open_BxK, axis=-1), 1)
    context = begin / tried + (generated + heard) / (m * tried) / 2
    lockstep = m * jnp.sum(loop_steps.reshape(B, K), axis=-1) * jnp.any(open_BxK, axis=-1)
    return rollouts, expert.price(generated, read + heard, lockstep, context)


def _flat(x_BxK):
    """Each candidate a row of its own."""
    return x_BxK.reshape(-1, *x_BxK.shape[2:])
