"""The loop that writes K candidates at each of B rows, a token of each at a time.

Keys and values of the tokens that are written lie in slots behind the context's, K of each time. A
candidate knows the slots of its own tokens, so that re-ordering candidates moves numbers alone.

Shape suffixes: B rows, K candidates, L tokens a candidate at most, S slots (L · K), C context
tokens, D width.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from expert_iter.model.state import State
from expert_iter.model.step_ends import NO_TOKEN, StepEnds
from expert_iter.model.transformer import KV, Network, Past
from expert_iter.search.behaviour import DEAD, SamplerConfig
from expert_iter.search.candidates import Candidates, merge_duplicates
from expert_iter.search.gumbel_top_k import log_inclusion, row_gumbel
from expert_iter.search.next_tokens import next_tokens


class Beam(NamedTuple):
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
      world: what a world said; None where there is none.
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
    world: "Heard | None"


class Heard(NamedTuple):
    """What a world said to candidates.

    Attributes:
      observed: [B, K, L] bool. Which tokens it wrote.
      over: [B, K] bool. The text is complete.
      ended: [B, K] bool. The text is complete, or lost.
      hidden: [B, K, D]. The trunk's output at the last token, from which a candidate goes on that
        waited for others.
    """

    observed: jax.Array
    over: jax.Array
    ended: jax.Array
    hidden: jax.Array

    def having_read(self, writing_BxK, hidden_BxKxD) -> "Heard":
        return self._replace(hidden=jnp.where(writing_BxK[..., None], hidden_BxKxD, self.hidden))


class Carry(NamedTuple):
    """What the loop over tokens carries.

    Attributes:
      t: [] int32. How many tokens deep the loop is.
      kv: the state's keys and values, and after them K slots for each token of the candidates.
      hidden_BxKxD: the trunk's output at the last token.
      threshold_B: float32. The largest perturbed log-probability of what was left out so far.
      beam: the candidates.
      place_BxS: int32. The place in its text of the token in each slot (S = L · K).
    """

    t: jax.Array
    kv: KV
    hidden_BxKxD: jax.Array
    threshold_B: jax.Array
    beam: Beam
    place_BxS: jax.Array

    def of_rows(self, rows) -> "Carry":
        t, kv, *of_rows = self
        kv = jax.tree.map(lambda x: x[:, rows], kv)
        return Carry(t, kv, *jax.tree.map(lambda x: x[rows], of_rows))


@dataclasses.dataclass(frozen=True)
class Decoder:
    """The parts of the loop; see `sample_candidates`.

    begun: how many tokens deep the loop was when this step began; most: tokens of this step (None:
    `L`).
    """

    network: Network
    params: dict
    state: State
    keys_B: jax.Array
    K: int
    L: int
    config: SamplerConfig
    steps: StepEnds
    whole: bool
    begun: jax.Array | int = 0
    most: int | None = None

    def start(self, live_B) -> Carry:
        state, K, L = self.state, self.K, self.L
        B = state.mask_BxC.shape[0]
        # Without replacement the beam starts as the one empty text, which branches.
        exists = jnp.broadcast_to((jnp.arange(K) == 0) | self.config.replacement, (B, K))
        root_gumbel = row_gumbel(self.keys_B, L)
        live_B = jnp.ones(B, bool) if live_B is None else live_B
        room = self.network.empty_kv(B, L * K)
        hidden = jnp.broadcast_to(state.hidden_BxD[:, None], (B, K, state.hidden_BxD.shape[-1]))
        return Carry(
            t=jnp.int32(0),
            kv=KV(*(jnp.concatenate(pair, axis=2) for pair in zip(state.kv, room, strict=True))),
            hidden_BxKxD=hidden,
            threshold_B=jnp.full(B, DEAD),
            beam=Beam(
                token=jnp.full((B, K, L), self.steps.ids.pad, jnp.int32),
                slot=jnp.full((B, K, L), -1, jnp.int32),
                length=jnp.zeros((B, K), jnp.int32),
                log_pi=jnp.zeros((B, K)),
                log_beta=jnp.where(exists, 0.0, DEAD),
                perturbed=jnp.where(exists, root_gumbel[:, None], DEAD),
                done=jnp.broadcast_to(~live_B[:, None], (B, K)),
                value=jnp.zeros((B, K)),
                token_value=jnp.zeros((B, K, L)),
                world=self._nothing_heard(hidden) if self.steps.answered else None,
            ),
            place_BxS=jnp.zeros((B, L * K), jnp.int32),
        )

    def _nothing_heard(self, hidden_BxKxD) -> Heard:
        none = jnp.zeros(hidden_BxKxD.shape[:2], bool)
        return Heard(jnp.zeros((*none.shape, self.L), bool), none, none, hidden_BxKxD)

    def of_rows(self, rows) -> "Decoder":
        # The loop carries the keys and values.
        state = jax.tree.map(lambda x: x[rows], self.state._replace(kv=None))
        return dataclasses.replace(self, state=state, keys_B=self.keys_B[rows])

    def run(self, carry: Carry, fewer: int) -> Carry:
        """Writes until no more than `fewer` rows still write."""

        def goes_on(carry: Carry):
            writing = jnp.sum(~jnp.all(carry.beam.done, axis=1))
            return (carry.t < last) & (writing > fewer)

        last = self.begun + (self.L if self.most is None else self.most)
        return jax.lax.while_loop(goes_on, self.advance, carry)

    def advance(self, carry: Carry) -> Carry:
        """Writes one token of each candidate."""
        t = carry.t
        beam, token, log_pi, log_beta, threshold_B = self._choose(carry)
        writing = ~beam.done & (beam.perturbed > DEAD / 2)
        token = jnp.where(writing, token, self.steps.ids.pad).astype(jnp.int32)
        before = jax.lax.dynamic_index_in_dim(beam.token, jnp.maximum(t - 1, 0), 2, False)
        is_end = self._ends_text(token)
        if not self.whole:
            is_end |= self.steps.ended(jnp.where(t > self.begun, before, NO_TOKEN), token)
        kv, hidden, place_BxS = self._read(carry, beam, token)
        value = jax.nn.sigmoid(self.network.value_logit(self.params, hidden))
        beam = Beam(
            token=beam.token.at[:, :, t].set(token),
            slot=beam.slot.at[:, :, t].set(jnp.where(writing, jnp.arange(self.K), -1)),
            length=beam.length + writing,
            log_pi=beam.log_pi + jnp.where(writing, log_pi, 0.0),
            log_beta=jnp.where(writing, jnp.maximum(beam.log_beta + log_beta, DEAD), beam.log_beta),
            perturbed=beam.perturbed,
            done=beam.done | ~writing | is_end,
            value=jnp.where(writing, value, beam.value),
            token_value=beam.token_value.at[:, :, t].set(jnp.where(writing, value, 0.0)),
            world=beam.world and beam.world.having_read(writing, hidden),
        )
        return Carry(t + 1, kv, hidden, threshold_B, beam, place_BxS)

    def _choose(self, carry: Carry):
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

    def _read(self, carry: Carry, beam: Beam, token_BxK) -> tuple[KV, jax.Array, jax.Array]:
        """Reads the tokens just chosen. `beam` does not hold them yet: a token sees the context,
        those of its own candidate before it, and itself.
        """
        only_itself = jnp.broadcast_to(jnp.eye(self.K, dtype=bool), (*token_BxK.shape, self.K))
        place_BxK = self.state.next_position_B[:, None] + beam.length
        return self.read(carry, beam, token_BxK, place_BxK, only_itself)

    def read(
        self, carry: Carry, beam: Beam, token_BxQ, place_BxQ, mask_BxQxQ
    ) -> tuple[KV, jax.Array, jax.Array]:
        """Reads tokens into the next slots: Q / K of each candidate, in the slots' order.

        mask_BxQxQ: which of them each sees, beside the context and what its candidate has so far.

        Returns:
          Keys and values; the trunk's output [B, Q, D]; the places of all slots' tokens [B, S].
        """
        state, t, K = self.state, carry.t, self.K
        (B, C), Q = state.mask_BxC.shape, token_BxQ.shape[1]
        past_place = jnp.concatenate([state.position_BxC, carry.place_BxS], axis=1)
        context = jnp.broadcast_to(state.mask_BxC[:, None, :], (B, K, C))
        written = jax.nn.one_hot(beam.slot, K, dtype=bool).reshape(B, K, self.L * K)
        seen = jnp.tile(jnp.concatenate([context, written], axis=2), (1, Q // K, 1))
        past = Past(carry.kv, past_place, seen)
        hidden, new_kv = self.network.hidden(self.params, token_BxQ, place_BxQ, mask_BxQxQ, past)
        # Slots are never moved: re-ordering the beam re-orders numbers of slots, not keys.
        write = jax.lax.dynamic_update_slice_in_dim
        kv = jax.tree.map(lambda x, y: write(x, y, C + t * K, axis=2), carry.kv, new_kv)
        return kv, hidden, write(carry.place_BxS, place_BxQ, t * K, axis=1)

    def candidates(self, beam: Beam, threshold_B) -> Candidates:
        config = self.config
        if beam.world:
            beam = _without_gaps(beam, self.steps.ids.pad)
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
        if beam.world:
            finished = beam.world.over
        else:
            last = jnp.maximum(beam.length - 1, 0)[..., None]
            last = jnp.take_along_axis(beam.token, last, axis=2)[..., 0]
            finished = self._ends_text(last)
        return Candidates(
            token=beam.token,
            length=beam.length,
            log_pi=beam.log_pi,
            log_beta=beam.log_beta,
            prior_logit=jnp.where(valid, prior, DEAD),
            count=count,
            valid=valid,
            finished=finished & (beam.length > 0) & exists,
            model_value=beam.value,
            token_value=beam.token_value,
            observed=beam.world and beam.world.observed,
        )

    def _ends_text(self, token):
        return jnp.isin(token, jnp.array(self.steps.ids.ends))


def _without_gaps(beam: Beam, pad: int) -> Beam:
    """Candidates that waited for others have gaps between their steps; here their tokens are moved
    together.
    """
    gap = beam.slot < 0
    order = jnp.argsort(gap, axis=-1, stable=True)
    gap = jnp.take_along_axis(gap, order, axis=-1)
    moved = lambda x, filler: jnp.where(gap, filler, jnp.take_along_axis(x, order, axis=-1))  # noqa: E731
    return beam._replace(
        token=moved(beam.token, pad),
        token_value=moved(beam.token_value, 0.0),
        world=beam.world._replace(observed=moved(beam.world.observed, False)),
    )
