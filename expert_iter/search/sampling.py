"""Samples K candidate continuations at one state of each of B rows, all in one jitted loop.

Two samplers, both with the sampler's true log-probability kept:

* *independent*: K draws from the behaviour β; equal draws are merged and counted.
* *without replacement*: stochastic beam search (`search.gumbel_top_k`, and for large vocabularies
  `search.gumbel_top_down`). Exact: the K sequences are distributed as K draws without replacement.

A continuation is a step when it may stop at a line's end, and a whole solution when it may stop
only at the end of the text: guess-and-check and tree search share this file.

Shape suffixes: B rows, K candidates, L tokens a candidate at most, V vocabulary, C context tokens.
"""

import jax
import jax.numpy as jnp

from expert_iter.model.state import State
from expert_iter.model.step_ends import StepEnds
from expert_iter.model.transformer import Network
from expert_iter.search.behaviour import SamplerConfig
from expert_iter.search.candidates import Candidates
from expert_iter.search.decoder import Decoder


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
    decoder = Decoder(network, params, state, keys_B, K, L, config, steps, whole)
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
