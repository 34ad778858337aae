"""Candidates in a world that answers steps: each is written up to the end of a step, waits for the
answer, and may go on behind it.

Drawing without replacement stays exact: candidates that wait keep their place in the beam, and
those that go on compete with them as before.

Shape suffixes: B rows, K candidates, A tokens of an observation at most.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from expert_iter.model.state import State
from expert_iter.model.step_ends import StepEnds
from expert_iter.model.transformer import Network
from expert_iter.search.behaviour import DEAD, SamplerConfig
from expert_iter.search.candidates import Candidates
from expert_iter.search.decoder import Carry, Decoder

_BLOCK = 8  # tokens of an answer that are read at once, at most


class Answers(NamedTuple):
    """What a world answered to the last steps of candidates. A step that is neither `goes_on` nor
    `over` was illegal, or was not asked about.

    Attributes:
      token: [B, K, A] int32. The observation, then padding.
      length: [B, K] int32. How many tokens it has.
      goes_on: [B, K] bool.
      over: [B, K] bool. The text is complete.
    """

    token: jax.Array
    length: jax.Array
    goes_on: jax.Array
    over: jax.Array


class NewSteps(NamedTuple):
    """Steps that a world is to answer.

    Attributes:
      prefix: [B, D, L] int32. The steps before, the same for all of a row's.
      token: [B, M, T] int32. What follows them, the new step at its end.
      asked: [B, M] bool. Only these are to be answered.
      ended: [B, M] bool. Their last token is an end of the text.
    """

    prefix: jax.Array
    token: jax.Array
    asked: jax.Array
    ended: jax.Array


class Draft(NamedTuple):
    """Candidates of B rows that wait for answers.

    Attributes:
      state: what they continue, without its keys and values, which `carry` has.
      key: [B].
      carry: the decoder's, with `t` [B] int32.
      decoded: [B] int32. How many tokens deep the decoder's loop ran.
    """

    state: State
    key: jax.Array
    carry: Carry
    decoded: jax.Array

    @property
    def waiting(self) -> jax.Array:
        """[B, K] bool. The candidates that have written a step, and nothing ended them."""
        beam = self.carry.beam
        return (beam.perturbed > DEAD / 2) & (beam.length > 0) & ~beam.world.ended


@dataclasses.dataclass(frozen=True)
class Drafts:
    """How drafts are made.

    Attributes:
      network, params, config, steps: as of `sample_candidates`.
      num_candidates: K.
      max_steps: steps that a candidate has room for.
      max_step_tokens: most tokens of a step.
      max_observation_tokens: A.
    """

    network: Network
    params: dict
    config: SamplerConfig
    steps: StepEnds
    num_candidates: int
    max_steps: int
    max_step_tokens: int
    max_observation_tokens: int

    def begin(self, state: State, keys_B, live_B=None) -> Draft:
        """Writes the first step of each candidate. live_B: bool. Rows that are wanted."""
        decoder = self._decoder(state, keys_B)
        begun = decoder.start(live_B)
        decoded_B = jnp.zeros(keys_B.shape, jnp.int32)
        return self._draft(state, keys_B, begun.t, decoder.run(begun, 0), decoded_B)

    def go_on(self, draft: Draft) -> Draft:
        """Writes the next step of the candidates that have been answered and go on."""
        state, keys_B, (t_B, *others), decoded_B = draft
        carry = Carry(t_B[0], *others)
        written = self._decoder(state, keys_B, begun=carry.t).run(carry, 0)
        return self._draft(state, keys_B, carry.t, written, decoded_B)

    def hear(self, draft: Draft, answers: Answers) -> Draft:
        """Reads the answers behind the steps that wait for them."""
        (state, keys_B, carry, _), beam = draft, draft.carry.beam
        waiting, t = draft.waiting, carry.t[0]
        goes_on, over = waiting & answers.goes_on, waiting & answers.over
        heard = beam.world
        beam = beam._replace(
            done=~goes_on,
            world=heard._replace(over=heard.over | over, ended=heard.ended | (waiting & ~goes_on)),
        )
        carry = carry._replace(t=t, beam=beam, hidden_BxKxD=heard.hidden)
        if self.max_observation_tokens:
            length = jnp.where(waiting, answers.length, 0)
            carry = self._read(self._decoder(state, keys_B), carry, answers.token, length)
        return draft._replace(carry=carry._replace(t=jnp.full_like(draft.carry.t, carry.t)))

    def candidates(self, draft: Draft) -> Candidates:
        """The candidates `[B, K]` so far; those are finished that a world said are over."""
        state, keys_B, carry, _ = draft
        return self._decoder(state, keys_B).candidates(carry.beam, carry.threshold_B)

    def new_steps(self, draft: Draft, prefix_BxDxL) -> NewSteps:
        """prefix_BxDxL: the steps that lead to what the candidates continue."""
        drawn = self.candidates(draft)
        last = jnp.maximum(drawn.length - 1, 0)[..., None]
        last = jnp.take_along_axis(drawn.token, last, axis=2)[..., 0]
        ended = jnp.isin(last, jnp.array(self.steps.ids.ends))
        return NewSteps(prefix_BxDxL, drawn.token, draft.waiting, ended)

    def _decoder(self, state: State, keys_B, begun=0) -> Decoder:
        room = self.max_steps * (self.max_step_tokens + self.max_observation_tokens)
        who = self.network, self.params, state, keys_B, self.num_candidates, room
        how = self.config, self.steps
        return Decoder(*who, *how, whole=False, begun=begun, most=self.max_step_tokens)

    def _draft(self, state: State, keys_B, begun, carry: Carry, decoded_B) -> Draft:
        """begun: how deep the loop was when this step began."""
        # Each step begins at a depth of its own, whatever the lengths of the steps before: what is
        # drawn depends on the depth, and must not depend on the other rows of the device.
        t_B = jnp.full(keys_B.shape, begun + self.max_step_tokens)
        draft = Draft(state._replace(kv=None), keys_B, carry._replace(t=t_B), decoded_B)
        return draft._replace(decoded=decoded_B + carry.t - begun)

    def _read(self, decoder: Decoder, carry: Carry, token_BxKxA, length_BxK) -> Carry:
        """Reads answers a block of tokens at a time, as far as the longest one goes."""
        A, begin, before = token_BxKxA.shape[2], carry.t, carry.beam.length
        block = max(size for size in range(1, _BLOCK + 1) if A % size == 0)

        def read(number_and_carry):
            number, carry = number_and_carry
            token = jax.lax.dynamic_slice_in_dim(token_BxKxA, number, block, axis=2)
            carry = carry._replace(t=begin + number)
            carry = self._read_block(decoder, carry, token, before + number, length_BxK - number)
            return number + block, carry

        more = lambda number_and_carry: number_and_carry[0] < jnp.max(length_BxK)  # noqa: E731
        _, carry = jax.lax.while_loop(more, read, (jnp.int32(0), carry))
        beam = carry.beam._replace(length=before + length_BxK)
        return carry._replace(t=begin + A, beam=beam)

    def _read_block(
        self, decoder: Decoder, carry: Carry, token_BxKxA, before_BxK, length_BxK
    ) -> Carry:
        """Reads A tokens of each answer, and those of no answer that has fewer left.

        Args:
          before_BxK: int32. Tokens that the candidate has before them.
          length_BxK: int32. How many are left of the answer; not above 0 where it is read.
        """
        B, K, A = token_BxKxA.shape
        beam, t = carry.beam, carry.t
        number = jnp.arange(A)
        there = number < length_BxK[..., None]
        token = jnp.where(there, token_BxKxA, self.steps.ids.pad)
        place = decoder.state.next_position_B[:, None, None] + before_BxK[..., None] + number
        # In the order of slots: the first token of each candidate, then the second of each.
        in_slots = lambda x: x.swapaxes(1, 2).reshape(B, A * K)  # noqa: E731
        of, at = jnp.tile(jnp.arange(K), A), jnp.repeat(number, K)
        before = (of[:, None] == of) & (at[:, None] >= at)
        mask = before & in_slots(there)[:, None] | jnp.eye(A * K, dtype=bool)
        kv, hidden, place_BxS = decoder.read(carry, beam, in_slots(token), in_slots(place), mask)
        value = jax.nn.sigmoid(self.network.value_logit(self.params, hidden))
        value = value.reshape(B, A, K).swapaxes(1, 2)
        last = jnp.clip(length_BxK - 1, 0, A - 1)[..., None]
        hears = length_BxK > 0
        last_value = jnp.take_along_axis(value, last, axis=2)[..., 0]
        last_hidden = hidden.reshape(B, A, K, -1).swapaxes(1, 2)
        last_hidden = jnp.take_along_axis(last_hidden, last[..., None], axis=2)[:, :, 0]
        last_hidden = jnp.where(hears[..., None], last_hidden, beam.world.hidden)
        put = lambda x, y: jax.lax.dynamic_update_slice_in_dim(x, y, t, axis=2)  # noqa: E731
        beam = beam._replace(
            token=put(beam.token, token),
            slot=put(beam.slot, jnp.where(there, jnp.arange(K)[:, None], -1)),
            value=jnp.where(hears, last_value, beam.value),
            token_value=put(beam.token_value, jnp.where(there, value, 0.0)),
            world=beam.world._replace(observed=put(beam.world.observed, there), hidden=last_hidden),
        )
        return Carry(t, kv, last_hidden, carry.threshold_B, beam, place_BxS)
