"""Rollouts: completions of each candidate of a node to the end of the text, and what came of them.

Shape suffixes: B rows, K candidates a node, D steps a prefix at most, L tokens a step, R rollouts
from a node's candidates.
"""

import jax
import jax.numpy as jnp

from expert_iter.model.state import State, extend, read_step, repeat
from expert_iter.search.bill import Bill
from expert_iter.search.expert import Expert
from expert_iter.search.node import Rollouts


def roll_out(
    expert: Expert, params, state: State, problem_B, keys_B, prefix_BxDxL, drawn, open_BxK
) -> tuple[Rollouts, Bill]:
    """Samples from each open candidate to the end of the text, `config.rollouts` times.

    drawn: the `Candidates` of the node that `state` is.
    """
    c = expert.config
    (B, K, L), m = drawn.token_BxKxL.shape, c.rollouts
    R, left = K * m, (c.max_steps - 1) * c.max_step_tokens

    def flat(x):
        return x.reshape(B * K, *x.shape[2:])

    def by_rollout(x):
        return x.reshape(B, R, *x.shape[2:])

    def own(x):  # what the candidate of each rollout has
        return jnp.repeat(x, m, axis=1)

    before = repeat(state, K)
    length = jnp.where(flat(open_BxK), flat(drawn.length_BxK), 0)
    step = read_step(expert.network, params, before, flat(drawn.token_BxKxL), length)
    keys_BxK = jax.vmap(lambda key: jax.random.split(jax.random.fold_in(key, 1), K))(keys_B)
    ends = expert.draw(
        params,
        extend(before, step),
        flat(keys_BxK),
        m,
        left,
        whole=True,
        live_B=flat(open_BxK),
        replacement=True,
    )
    # Texts start with their step: its tokens, and the rollout's right after them.
    step_length = own(drawn.length_BxK)
    place = jnp.arange(L + left) - step_length[..., None]

    def join(first_BxKxL, rest, filler):
        first = jnp.pad(own(first_BxKxL), ((0, 0), (0, 0), (0, left)))
        rest = jnp.take_along_axis(by_rollout(rest), jnp.clip(place, 0, left - 1), axis=2)
        return jnp.where(place < 0, first, jnp.where(place < left, rest, filler))

    valid = own(open_BxK)
    finished = by_rollout(ends.ended_BxK) & valid
    token = join(drawn.token_BxKxL, ends.token_BxKxL, expert.ids.pad)
    won = expert.verdicts(problem_B, prefix_BxDxL, token, finished)
    value = by_rollout(ends.value_BxK)
    worth = value if expert.judge is None else won.astype(value.dtype)
    rollouts = Rollouts(
        token_BxRxT=token,
        length_BxR=step_length + by_rollout(ends.length_BxK),
        log_pi_BxR=own(drawn.log_pi_BxK) + by_rollout(ends.log_pi_BxK),
        log_beta_BxR=own(drawn.log_beta_BxK) + by_rollout(ends.log_beta_BxK),
        token_value_BxRxT=join(drawn.token_value_BxKxL, ends.token_value_BxKxL, 0),
        value_BxR=value,
        worth_BxR=jnp.where(finished, worth, 0.0),
        valid_BxR=valid,
        finished_BxR=finished,
        won_BxR=won,
    )
    generated = jnp.sum(by_rollout(ends.length_BxK) * valid, axis=-1)
    read = jnp.sum(length.reshape(B, K), axis=-1)
    tried = jnp.maximum(jnp.sum(valid, axis=-1), 1)
    context = state.next_position_B + read * m / tried + generated / tried / 2
    lockstep = jnp.full_like(generated, ends.loop_steps * R) * jnp.any(open_BxK, axis=-1)
    return rollouts, expert.price(generated, read, lockstep, context)
