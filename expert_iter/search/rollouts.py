"""Rollouts: completions of each candidate of a node to the end of the text, and what came of them.

Shape suffixes: B rows, K candidates, D steps a prefix at most, L tokens a step, R rollouts from a
node's candidates.
"""

import dataclasses

import jax
import jax.numpy as jnp

from expert_iter.model.state import State, extend, read_step, repeat
from expert_iter.search.behaviour import DEAD
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
      The rollouts `[B, R]`, those of one candidate side by side and not yet judged, and what they
      cost `[B]`.
    """
    (B, K, L), c = drawn.token.shape, expert.config
    m, left = c.rollouts, (c.max_steps - 1) * c.max_step_tokens
    R = K * m

    def flat(x):
        return x.reshape(B * K, *x.shape[2:])

    def own(x):  # what the candidate of each rollout has
        return jnp.repeat(x, m, axis=1)

    before = repeat(state, K)
    length = jnp.where(flat(open_BxK), flat(drawn.length), 0)
    step = read_step(expert.network, params, before, flat(drawn.token), length)
    keys_BxK = jax.vmap(lambda key: jax.random.split(jax.random.fold_in(key, 1), K))(keys_B)
    after, sampler = extend(before, step), dataclasses.replace(expert.sampler, replacement=True)
    ends, loop_steps = expert.draw(
        params, after, flat(keys_BxK), m, left, sampler, whole=True, live_B=flat(open_BxK)
    )
    ends = jax.tree.map(lambda x: x.reshape(B, R, *x.shape[2:]), ends)
    # Texts start with their step: its tokens, and the rollout's right after them.
    step_length = own(drawn.length)
    place = jnp.arange(L + left) - step_length[..., None]

    def join(first_BxKxL, rest, filler):
        first = jnp.pad(own(first_BxKxL), ((0, 0), (0, 0), (0, left)))
        rest = jnp.take_along_axis(rest, jnp.clip(place, 0, left - 1), axis=2)
        return jnp.where(place < 0, first, jnp.where(place < left, rest, filler))

    valid = own(open_BxK)
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
    )
    rollouts = Rollouts(texts, ends.model_value, jnp.zeros_like(texts.finished))

    generated = jnp.sum(ends.length * valid, axis=-1)
    read = jnp.sum(length.reshape(B, K), axis=-1)
    tried = jnp.maximum(jnp.sum(valid, axis=-1), 1)
    context = state.next_position_B + read * m / tried + generated / tried / 2
    lockstep = m * jnp.sum(loop_steps.reshape(B, K), axis=-1) * jnp.any(open_BxK, axis=-1)
    return rollouts, expert.price(generated, read, lockstep, context)
