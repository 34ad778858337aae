"""Samples K candidate continuations ("steps") at one state of each of B rows, all in one jitted
loop.

Two samplers, both with the sampler's true log-probability kept:

* *independent*: K draws from the behaviour distribution β; equal draws are merged and counted.
* *without replacement*: stochastic beam search (Kool, van Hoof and Welling 2019, "Stochastic Beams
and Where to Find
  Them"): Gumbel-top-k over whole sequences, sampled top-down token by token. Exact: the K sequences
  are distributed as K draws without replacement.

A continuation is a step when it may stop at a line's end, and a whole solution when it may stop
only at the end of the text: guess-and-check and tree search share this file.

Shape suffixes: B rows, K candidates, L tokens a candidate at most, V vocabulary, C context tokens.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from expert_iter.errors import UserError
from expert_iter.model.state import State
from expert_iter.model.step_ends import NO_TOKEN, StepEnds
from expert_iter.model.transformer import KV, Network, Past

DEAD = (
    -1e9
)  # log-weight of what does not exist; finite, so that differences of two of them are not NaN


@dataclasses.dataclass(frozen=True)
class SamplerConfig:
    """The behaviour β: the policy at a temperature, cut to its `top_k` likeliest tokens and `top_p`
    mass.

    `max_log_ratio` bounds |log π − log β| of a whole candidate (importance weights of long steps
    explode).
    """

    replacement: bool = False
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    max_log_ratio: float = 5.0

    def __post_init__(self):
        if self.temperature < 0:
            raise UserError(
                f"sampler.temperature must be at least 0 (0: greedy), got {self.temperature}"
            )
        if self.top_k < 0:
            raise UserError(f"sampler.top_k must be at least 0 (0: all tokens), got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise UserError(f"sampler.top_p must be in (0, 1], got {self.top_p}")
        if self.max_log_ratio < 0:
            raise UserError(f"sampler.max_log_ratio must not be negative, got {self.max_log_ratio}")

    def log_ratio(self, log_pi, log_beta):
        """log π − log β, bounded."""
        return jnp.clip(log_pi - log_beta, -self.max_log_ratio, self.max_log_ratio)


class Candidates(NamedTuple):
    """K continuations of each row's state.

    token_BxKxL (padded), length_BxK: what was written, end mark included.
    log_pi_BxK, log_beta_BxK: log-probability under the policy, and under the behaviour it was drawn
    from. prior_logit_BxK: logits of the search's prior, log c + log π − log β (independent draws, c
    times the same) or
        log π − log q (without replacement, q the inclusion probability); −1e9 where invalid.
    count_BxK: how often it was drawn; valid_BxK: false for merged duplicates and for draws that do
    not exist. ended_BxK: whether the last token is an end mark; finished_BxK: whether that mark is
    the end of the text. value_BxK: the value head's probability of success, read at the last token;
    token_value_BxKxL: after each token (0 after the last).
    loop_steps: how many tokens deep the loop ran (every row pays for the longest).
    """

    token_BxKxL: jax.Array
    length_BxK: jax.Array
    log_pi_BxK: jax.Array
    log_beta_BxK: jax.Array
    prior_logit_BxK: jax.Array
    count_BxK: jax.Array
    valid_BxK: jax.Array
    ended_BxK: jax.Array
    finished_BxK: jax.Array
    value_BxK: jax.Array
    token_value_BxKxL: jax.Array
    loop_steps: jax.Array


def behaviour(logits, config: SamplerConfig):
    """log β `[..., V]` of policy logits: temperature, then top-k, then top-p; cut tokens get
    `DEAD`.
    """
    if config.temperature == 0:
        best = jax.nn.one_hot(jnp.argmax(logits, axis=-1), logits.shape[-1], dtype=bool)
        return jnp.where(best, 0.0, DEAD)
    log_beta = jax.nn.log_softmax(logits / config.temperature)
    keep = logits > DEAD / 2  # a high temperature must not revive what is never written
    if config.top_k:
        kth = top_k(log_beta, min(config.top_k, logits.shape[-1]))[0][..., -1:]
        keep &= log_beta >= kth
    if config.top_p < 1:
        ordered = jnp.sort(log_beta, axis=-1, descending=True)
        mass_before = jnp.cumsum(jnp.exp(ordered), axis=-1) - jnp.exp(ordered)
        last_kept = jnp.sum(mass_before < config.top_p, axis=-1, keepdims=True) - 1
        keep &= log_beta >= jnp.take_along_axis(ordered, last_kept, axis=-1)
    if config.top_k or config.top_p < 1:
        log_beta = jax.nn.log_softmax(jnp.where(keep, log_beta, DEAD))
    return jnp.where(keep, log_beta, DEAD)


def top_k(x, k: int):
    """`jax.lax.top_k`, fenced in: where XLA:CPU can see how the result is sliced it sorts all of x,
    at ten times the cost.
    """
    value, index = jax.lax.top_k(x, k)
    # One fence each: around both, XLA:CPU dies compiling for more than one device (jaxlib 0.10.2).
    return jax.lax.optimization_barrier(value), jax.lax.optimization_barrier(index)


def _log1mexp(x):
    """log(1 − exp(x)) for x ≤ 0 (Mächler 2012)."""
    x = jnp.minimum(x, -1e-20)
    return jnp.where(x > -0.6931472, jnp.log(-jnp.expm1(x)), jnp.log1p(-jnp.exp(x)))


def condition_on_parent(parent_perturbed, free, largest):
    """Perturbed log-probabilities of children, given that their maximum is the parent's.

    Kool 2019, equation 23 in the numerically stable form of appendix B.3. It keeps the order of its
    argument.

    Args:
      parent_perturbed: the parents' `[...]`.
      free: log-probability plus Gumbel noise of (some) children, `[..., N]`.
      largest: the maximum of that over all children, `[..., 1]`.
    """
    parent = parent_perturbed[..., None]
    v = parent - free + _log1mexp(free - largest)
    return jnp.where(
        free == largest, parent, parent - jax.nn.relu(v) - jnp.log1p(jnp.exp(-jnp.abs(v)))
    )


def log_inclusion(log_beta, threshold):
    """log q = log(1 − exp(−exp(log β − κ))): the probability to be among the draws, given the
    threshold κ (Kool 2019).
    """
    return _log1mexp(-jnp.exp(jnp.clip(log_beta - threshold, -80.0, 80.0)))


def merge_duplicates(token_BxKxL, exists_BxK=None):
    """Which candidates are the first of their text, `[B, K]`, and how often each of those occurs (0
    for the others). Only those that exist count, which come before all that do not. Padding
    needs no token of its own for this: a text's own tokens tell where it ends.
    """
    B, K = token_BxKxL.shape[:2]
    exists = jnp.ones((B, K), bool) if exists_BxK is None else exists_BxK
    same = jnp.all(token_BxKxL[:, :, None] == token_BxKxL[:, None], axis=-1) & exists[:, None]
    first = ~jnp.any(same & jnp.tril(jnp.ones((K, K), bool), -1), axis=-1) & exists
    return first, jnp.where(first, jnp.sum(same, axis=-1), 0)


@jax.named_scope("decode")
def sample_candidates(
    network: Network,
    params,
    state: State,
    keys_B,
    *,
    num_candidates: int,
    max_tokens: int,
    config: SamplerConfig,
    step_ends: StepEnds | None,
    text_ends: tuple[int, ...],
    pad: int,
    never: tuple[int, ...],
    live_B=None,
) -> Candidates:
    """Draws `num_candidates` continuations of each row from β.

    Args:
      keys_B: one random key a row, so that a row's draws do not depend on the rows beside it.
      step_ends: where a step ends (None: only the end of the text ends a continuation).
      text_ends: tokens that end the text. Continuations without an end mark are cut at
        `max_tokens`.
      pad, never: what stands behind a text's end, and tokens that are never written.
      live_B: rows that are wanted; the others do not keep the loop running, and what they hold is
      void.
    """
    B, C = state.mask_BxC.shape
    K, L, V = num_candidates, max_tokens, network.vocab_size
    rows = jnp.arange(B)[:, None]
    greedy = config.temperature == 0
    unwritable = jnp.isin(jnp.arange(V), jnp.array(never))

    room = network.empty_kv(B, L * K)
    slot_position = state.next_position_B[:, None] + jnp.repeat(jnp.arange(L), K)[None, :]
    past_position = jnp.concatenate([state.position_BxC, slot_position], axis=1)
    context_mask = jnp.broadcast_to(state.mask_BxC[:, None, :], (B, K, C))
    only_itself = jnp.broadcast_to(jnp.eye(K, dtype=bool), (B, K, K))

    first = jnp.arange(K)[None, :] == 0
    alive = jnp.broadcast_to(first | config.replacement, (B, K))
    root_gumbel = jax.vmap(lambda key: jax.random.gumbel(jax.random.fold_in(key, L)))(keys_B)
    live_B = jnp.ones(B, bool) if live_B is None else live_B
    carry = dict(
        t=jnp.int32(0),
        kv=KV(*(jnp.concatenate(pair, axis=2) for pair in zip(state.kv, room, strict=True))),
        hidden=jnp.broadcast_to(state.hidden_BxD[:, None, :], (B, K, state.hidden_BxD.shape[-1])),
        threshold=jnp.full(B, DEAD),
        # What follows belongs to a candidate and moves with it when the beam is re-ordered.
        beam=dict(
            token=jnp.full((B, K, L), pad, jnp.int32),
            slot=jnp.full(
                (B, K, L), -1, jnp.int32
            ),  # where its tokens' keys and values lie, by depth
            length=jnp.zeros((B, K), jnp.int32),
            log_pi=jnp.zeros((B, K)),
            log_beta=jnp.where(alive, 0.0, DEAD),
            perturbed=jnp.where(alive, root_gumbel[:, None], DEAD),
            done=jnp.broadcast_to(~live_B[:, None], (B, K)),
            value=jnp.zeros((B, K)),
            token_value=jnp.zeros((B, K, L)),
        ),
    )

    def choose(carry):
        """Picks each candidate's next token: `(parent_BxK, token_BxK, perturbed_BxK, threshold_B,
        log π, log β)`.
        """
        beam, t = carry["beam"], carry["t"]
        logits = jnp.where(unwritable, DEAD, network.logits(params, carry["hidden"]))
        log_pi, log_beta = jax.nn.log_softmax(logits), behaviour(logits, config)
        if greedy:
            noise = 0.0
        else:
            noise = jax.vmap(lambda key: jax.random.gumbel(jax.random.fold_in(key, t), (K, V)))(
                keys_B
            )
        if config.replacement:
            parent = jnp.broadcast_to(jnp.arange(K), (B, K))
            token, perturbed, threshold = (
                jnp.argmax(log_beta + noise, axis=-1),
                beam["perturbed"],
                carry["threshold"],
            )
        else:
            # A parent can place no more than its best K children, and leave out no better one than
            # the next.
            N = min(K + 1, V)
            free, child = top_k(beam["log_beta"][..., None] + log_beta + noise, N)
            scores = condition_on_parent(beam["perturbed"], free, free[..., :1])
            scores = jnp.where(free > DEAD / 2, scores, DEAD)
            only_child = jnp.where(jnp.arange(N) == 0, beam["perturbed"][..., None], DEAD)
            scores = jnp.where(beam["done"][..., None], only_child, scores)
            scores = jnp.where((beam["perturbed"] > DEAD / 2)[..., None], scores, DEAD).reshape(
                B, K * N
            )
            best, index = top_k(jnp.pad(scores, ((0, 0), (0, 1)), constant_values=DEAD), K + 1)
            # The best sequence left out so far: a prefix's score is the largest of all sequences
            # below it.
            threshold = jnp.maximum(carry["threshold"], best[:, K])
            perturbed, parent = best[:, :K], jnp.minimum(index[:, :K] // N, K - 1)
            token = child[rows, parent, index[:, :K] % N]
        return (
            parent,
            token,
            perturbed,
            threshold,
            log_pi[rows, parent, token],
            log_beta[rows, parent, token],
        )

    def body(carry):
        t = carry["t"]
        parent, token, perturbed, threshold, log_pi, log_beta = choose(carry)
        beam = carry["beam"]
        if not config.replacement:
            beam = jax.tree.map(lambda x: x[rows, parent], beam)
        writing = ~beam["done"] & (perturbed > DEAD / 2)
        token = jnp.where(writing, token, pad).astype(jnp.int32)
        written = jax.lax.dynamic_index_in_dim(beam["token"], jnp.maximum(t - 1, 0), 2, False)
        is_end = _ends(jnp.where(t > 0, written, NO_TOKEN), token, step_ends, text_ends)
        slot = beam["slot"]

        seen = jax.nn.one_hot(slot, K, dtype=bool).reshape(B, K, L * K)
        past = Past(carry["kv"], past_position, jnp.concatenate([context_mask, seen], axis=2))
        position = jnp.broadcast_to(state.next_position_B[:, None] + t, (B, K))
        hidden, new_kv = network.hidden(params, token, position, only_itself, past)

        value = jax.nn.sigmoid(network.value_logit(params, hidden))
        at = C + t * K
        kv = KV(
            *(
                jax.lax.dynamic_update_slice_in_dim(x, n, at, axis=2)
                for x, n in zip(carry["kv"], new_kv, strict=True)
            )
        )
        beam = dict(
            token=beam["token"].at[:, :, t].set(token),
            slot=slot.at[:, :, t].set(jnp.arange(K)),
            length=beam["length"] + writing,
            log_pi=beam["log_pi"] + jnp.where(writing, log_pi, 0.0),
            log_beta=jnp.where(
                writing, jnp.maximum(beam["log_beta"] + log_beta, DEAD), beam["log_beta"]
            ),
            perturbed=perturbed,
            done=beam["done"] | ~writing | is_end,
            value=jnp.where(writing, value, beam["value"]),
            token_value=beam["token_value"].at[:, :, t].set(jnp.where(writing, value, 0.0)),
        )
        return dict(t=t + 1, kv=kv, hidden=hidden, threshold=threshold, beam=beam)

    carry = jax.lax.while_loop(lambda c: (c["t"] < L) & ~jnp.all(c["beam"]["done"]), body, carry)
    beam = carry["beam"]
    length = beam["length"]

    def written(index):
        at = jnp.maximum(index, 0)[..., None]
        return jnp.where(
            index < 0, NO_TOKEN, jnp.take_along_axis(beam["token"], at, axis=2)[..., 0]
        )

    before, last = written(length - 2), written(length - 1)
    finished = _ends(before, last, None, text_ends) & (length > 0)
    ended = _ends(before, last, step_ends, text_ends) & (length > 0)

    log_ratio = config.log_ratio(beam["log_pi"], beam["log_beta"])
    if config.replacement:
        valid, count = merge_duplicates(beam["token"])
        prior = jnp.log(jnp.maximum(count, 1)) + log_ratio
    else:
        valid = beam["perturbed"] > DEAD / 2
        count = valid.astype(jnp.int32)
        prior = (
            beam["log_beta"]
            + log_ratio
            - log_inclusion(beam["log_beta"], carry["threshold"][:, None])
        )
    return Candidates(
        token_BxKxL=beam["token"],
        length_BxK=beam["length"],
        log_pi_BxK=beam["log_pi"],
        log_beta_BxK=beam["log_beta"],
        prior_logit_BxK=jnp.where(valid, prior, DEAD),
        count_BxK=count,
        valid_BxK=valid,
        ended_BxK=ended,
        finished_BxK=finished & valid,
        value_BxK=beam["value"],
        token_value_BxKxL=beam["token_value"],
        loop_steps=carry["t"],
    )


def _ends(before, token, step_ends: StepEnds | None, text_ends: tuple[int, ...]):
    """Whether a continuation ends with `token`, elementwise."""
    ended = jnp.any(token[..., None] == jnp.array(text_ends), axis=-1)
    return ended if step_ends is None else ended | step_ends.ended(before, token)
