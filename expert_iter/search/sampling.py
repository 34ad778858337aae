"""Samples K candidate continuations at one state of each of B rows, all in one jitted loop.

Two samplers, both with the sampler's true log-probability kept:

* *independent*: K draws from the behaviour β; equal draws are merged and counted.
* *without replacement*: stochastic beam search (`search.gumbel_top_k`, and for large vocabularies
  `search.gumbel_top_down`). Exact: the K sequences are distributed as K draws without replacement.

A continuation is a step when it may stop at a line's end, and a whole solution when it may stop
only at the end of the text: guess-and-check and tree search share this file.

Shape suffixes: B rows, K candidates, L tokens a candidate at most, V vocabulary, C context tokens.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from expert_iter.model.state import State
from expert_iter.model.step_ends import NO_TOKEN, StepEnds
from expert_iter.model.transformer import KV, Network, Past
from expert_iter.search.behaviour import DEAD, SamplerConfig
from expert_iter.search.gumbel_top_k import log_inclusion, row_gumbel
from expert_iter.search.next_tokens import next_tokens


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


class _Beam(NamedTuple):
    """What belongs to a candidate, and moves with it when the beam is re-ordered.

    Attributes:
      token: [B, K, L] int32. What was written.
      slot: [B, K, L] int32. Where the keys and values of each token lie among the K that were
        written with it; −1 where nothing was.
      length: [B, K] int32. How many tokens were written.
      log_pi, log_beta: [B, K] float32. Log-probability so far.
      perturbed: [B, K] float32. log_beta with its Gumbel noise, without replacement; `DEAD` where
        there is no candidate.
      done: [B, K] bool. Nothing more is to be written.
      value: [B, K] float32. The value head's estimate at the last token.
      token_value: [B, K, L] float32. The same after each token.
    """

    token: jax.Array
    slot: jax.Array
    length: jax.Array
    log_pi: jax.Array
    log_beta: jax.Array
    perturbed: jax.Array
    done: jax.Array
    value: jax.Array
    token_value: jax.Array


class _Carry(NamedTuple):
    """What the loop over tokens carries.

    Attributes:
      t: [] int32. How many tokens deep the loop is.
      kv: the state's keys and values, and after them K slots for each token of the candidates.
      hidden_BxKxD: the trunk's output at the last token.
      threshold_B: float32. The largest perturbed log-probability of what was left out so far.
      beam: the candidates.
    """

    t: jax.Array
    kv: KV
    hidden_BxKxD: jax.Array
    threshold_B: jax.Array
    beam: _Beam

    def of_rows(self, rows) -> "_Carry":
        t, kv, *of_rows = self
        kv = jax.tree.map(lambda x: x[:, rows], kv)
        return _Carry(t, kv, *jax.tree.map(lambda x: x[rows], of_rows))


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
    steps: StepEnds,
    whole: bool = False,
    live_B=None,
) -> tuple[Candidates, jax.Array]:
    """Draws `num_candidates` continuations of each row from β.

    Args:
      keys_B: one random key a row, so that a row's draws do not depend on the rows beside it.
      max_tokens: continuations without an end mark are cut there.
      steps: where a step and the text end, and which tokens are never written.
      whole: only the end of the text ends a continuation; else the end of a step does too.
      live_B: bool. Rows that are wanted (default: all). The others do not keep the loop running,
        and what they hold is void.

    Returns:
      The candidates `[B, K]`, and `[B]` how many tokens deep the loop ran for each row: it pays for
      the longest of those beside it.
    """
    K, L = num_candidates, max_tokens
    decoder = _Decoder(network, params, state, keys_B, K, L, config, steps, whole)
    B = keys_B.shape[0]
    sizes = [B >> i for i in range(config.halvings + 1) if B >> i]
    rows, carry = jnp.arange(B), decoder.start(live_B)
    ended = carry.beam, carry.threshold_B, jnp.zeros(B, jnp.int32)
    for size, fewer in zip(sizes, [*sizes[1:], 0], strict=True):
        if size < B:
            # Rows that have ended wait for nothing: the others go on without them.
            kept = jnp.argsort(jnp.all(carry.beam.done, axis=1), stable=True)[:size]
            rows, decoder, carry = rows[kept], decoder.of_rows(kept), carry.of_rows(kept)
        carry = decoder.run(carry, fewer)
        depth = jnp.full(size, carry.t)
        ended = jax.tree.map(
            lambda x, new, rows=rows: x.at[rows].set(new),
            ended,
            (carry.beam, carry.threshold_B, depth),
        )
    beam, threshold_B, depth_B = ended
    return decoder.candidates(beam, threshold_B), depth_B


@dataclasses.dataclass(frozen=True)
class _Decoder:
    """The parts of the loop; see `sample_candidates`."""

    network: Network
    params: dict
    state: State
    keys_B: jax.Array
    K: int
    L: int
    config: SamplerConfig
    steps: StepEnds
    whole: bool

    def start(self, live_B) -> _Carry:
        state, K, L = self.state, self.K, self.L
        B = state.mask_BxC.shape[0]
        # Without replacement the beam starts as the one empty text, which branches.
        exists = jnp.broadcast_to((jnp.arange(K) == 0) | self.config.replacement, (B, K))
        root_gumbel = row_gumbel(self.keys_B, L)
        live_B = jnp.ones(B, bool) if live_B is None else live_B
        room = self.network.empty_kv(B, L * K)
        hidden = state.hidden_BxD
        return _Carry(
            t=jnp.int32(0),
            kv=KV(*(jnp.concatenate(pair, axis=2) for pair in zip(state.kv, room, strict=True))),
            hidden_BxKxD=jnp.broadcast_to(hidden[:, None], (B, K, hidden.shape[-1])),
            threshold_B=jnp.full(B, DEAD),
            beam=_Beam(
                token=jnp.full((B, K, L), self.steps.ids.pad, jnp.int32),
                slot=jnp.full((B, K, L), -1, jnp.int32),
                length=jnp.zeros((B, K), jnp.int32),
                log_pi=jnp.zeros((B, K)),
                log_beta=jnp.where(exists, 0.0, DEAD),
                perturbed=jnp.where(exists, root_gumbel[:, None], DEAD),
                done=jnp.broadcast_to(~live_B[:, None], (B, K)),
                value=jnp.zeros((B, K)),
                token_value=jnp.zeros((B, K, L)),
            ),
        )

    def of_rows(self, rows) -> "_Decoder":
        # The loop carries the keys and values.
        state = jax.tree.map(lambda x: x[rows], self.state._replace(kv=None))
        return dataclasses.replace(self, state=state, keys_B=self.keys_B[rows])

    def run(self, carry: _Carry, fewer: int) -> _Carry:
        """Writes until no more than `fewer` rows still write."""

        def goes_on(carry: _Carry):
            writing = jnp.sum(~jnp.all(carry.beam.done, axis=1))
            return (carry.t < self.L) & (writing > fewer)

        return jax.lax.while_loop(goes_on, self.advance, carry)

    def advance(self, carry: _Carry) -> _Carry:
        """Writes one token of each candidate."""
        t = carry.t
        beam, token, log_pi, log_beta, threshold_B = self._choose(carry)
        writing = ~beam.done & (beam.perturbed > DEAD / 2)
        token = jnp.where(writing, token, self.steps.ids.pad).astype(jnp.int32)
        before = jax.lax.dynamic_index_in_dim(beam.token, jnp.maximum(t - 1, 0), 2, False)
        is_end = self._ends_text(token)
        if not self.whole:
            is_end |= self.steps.ended(jnp.where(t > 0, before, NO_TOKEN), token)
        kv, hidden = self._read(carry, beam, token)
        value = jax.nn.sigmoid(self.network.value_logit(self.params, hidden))
        beam = _Beam(
            token=beam.token.at[:, :, t].set(token),
            slot=beam.slot.at[:, :, t].set(jnp.arange(self.K)),
            length=beam.length + writing,
            log_pi=beam.log_pi + jnp.where(writing, log_pi, 0.0),
            log_beta=jnp.where(writing, jnp.maximum(beam.log_beta + log_beta, DEAD), beam.log_beta),
            perturbed=beam.perturbed,
            done=beam.done | ~writing | is_end,
            value=jnp.where(writing, value, beam.value),
            token_value=beam.token_value.at[:, :, t].set(jnp.where(writing, value, 0.0)),
        )
        return _Carry(t + 1, kv, hidden, threshold_B, beam)

    def _choose(self, carry: _Carry):
        """The beam in its new order, and `[B, K]` each candidate's next token with its log π and
        log β; and the new threshold `[B]`.
        """
        beam = carry.beam
        unwritable = jnp.isin(jnp.arange(self.network.vocab_size), jnp.array(self.steps.never))
        logits = self.network.logits(self.params, carry.hidden_BxKxD)
        logits = jnp.where(unwritable, DEAD, logits)
        drawn = next_tokens(
            self.config, self.keys_B, carry.t, beam.log_beta, beam.perturbed, beam.done, logits
        )
        threshold_B = carry.threshold_B
        if not self.config.replacement:
            # A prefix's perturbed value is the largest of all sequences below it, so the best
            # prefix that was left out stands for all of them.
            threshold_B = jnp.maximum(threshold_B, drawn.left_out)
            rows = jnp.arange(threshold_B.shape[0])[:, None]
            beam = jax.tree.map(lambda x: x[rows, drawn.parent], beam)
            beam = beam._replace(perturbed=drawn.perturbed)
        return beam, drawn.token, drawn.log_pi, drawn.log_beta, threshold_B

    def _read(self, carry: _Carry, beam: _Beam, token_BxK) -> tuple[KV, jax.Array]:
        """Reads the tokens just chosen. `beam` does not hold them yet: a token sees the context,
        those of its own candidate before it, and itself.
        """
        state, t, K = self.state, carry.t, self.K
        B, C = state.mask_BxC.shape
        slot_position = state.next_position_B[:, None] + jnp.repeat(jnp.arange(self.L), K)[None, :]
        past_position = jnp.concatenate([state.position_BxC, slot_position], axis=1)
        context = jnp.broadcast_to(state.mask_BxC[:, None, :], (B, K, C))
        only_itself = jnp.broadcast_to(jnp.eye(K, dtype=bool), (B, K, K))
        written = jax.nn.one_hot(beam.slot, K, dtype=bool).reshape(B, K, self.L * K)
        past = Past(carry.kv, past_position, jnp.concatenate([context, written], axis=2))
        position = jnp.broadcast_to(state.next_position_B[:, None] + t, (B, K))
        hidden, new_kv = self.network.hidden(self.params, token_BxK, position, only_itself, past)
        # Slots are never moved: re-ordering the beam re-orders numbers of slots, not keys.
        write = functools.partial(
            jax.lax.dynamic_update_slice_in_dim, start_index=C + t * K, axis=2
        )
        return jax.tree.map(write, carry.kv, new_kv), hidden

    def candidates(self, beam: _Beam, threshold_B) -> Candidates:
        config = self.config
        log_ratio = config.log_ratio(beam.log_pi, beam.log_beta)
        if config.replacement:
            exists = True  # a duplicate does too
            valid, count = merge_duplicates(beam.token)
            prior = jnp.log(jnp.maximum(count, 1)) + log_ratio
        else:
            exists = valid = beam.perturbed > DEAD / 2
            count = valid.astype(jnp.int32)
            inclusion = log_inclusion(beam.log_beta, threshold_B[:, None])
            prior = beam.log_beta + log_ratio - inclusion
        last = jnp.maximum(beam.length - 1, 0)[..., None]
        last = jnp.take_along_axis(beam.token, last, axis=2)[..., 0]
        return Candidates(
            token=beam.token,
            length=beam.length,
            log_pi=beam.log_pi,
            log_beta=beam.log_beta,
            prior_logit=jnp.where(valid, prior, DEAD),
            count=count,
            valid=valid,
            finished=self._ends_text(last) & (beam.length > 0) & exists,
            model_value=beam.value,
            token_value=beam.token_value,
        )

    def _ends_text(self, token):
        return jnp.isin(token, jnp.array(self.steps.ids.ends))


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
