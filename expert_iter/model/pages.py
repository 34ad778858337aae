"""KV pages: the keys and values of one step each, in a pool beside the search tree.

A node of the tree owns one page, that of the step that leads to it, and holds the chain of page
numbers from the root: the prefix of a node is the prompt and the pages of its chain. So a prefix
costs one page, not one copy of its past.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from expert_iter.model.state import State
from expert_iter.model.transformer import KV, Network


class Chain(NamedTuple):
    """Which pages make up each row's prefix: page_BxD (−1: none) and the number of tokens
    length_BxD in each.
    """

    page_BxD: jax.Array
    length_BxD: jax.Array


def empty_pool(network: Network, rows: int, pages: int, page_tokens: int) -> KV:
    """Room for `pages` pages a row: keys and values `[layers, B, pages, L, H, E]`."""
    flat = network.empty_kv(rows, pages * page_tokens)
    return KV(*(x.reshape(x.shape[0], rows, pages, page_tokens, *x.shape[3:]) for x in flat))


@jax.named_scope("pages")
def write_page(pool: KV, page, kv: KV) -> KV:
    """Stores one step's keys and values `[layers, B, L, H, E]` as page `page` of every row."""

    def put(x, y):
        return jax.lax.dynamic_update_slice_in_dim(x, y[:, :, None], page, axis=2)

    return jax.tree.map(put, pool, kv)


@jax.named_scope("pages")
def read_chain(pool: KV, prompt: State, chain: Chain) -> State:
    """Puts prompt and pages side by side: the context of what comes next (without a last hidden
    state).
    """
    B, D = chain.page_BxD.shape
    L = pool.k.shape[3]
    rows = jnp.arange(B)[:, None]
    pages = KV(*(x[:, rows, jnp.maximum(chain.page_BxD, 0)] for x in pool))
    pages = KV(*(x.reshape(x.shape[0], B, D * L, *x.shape[4:]) for x in pages))
    length = jnp.where(chain.page_BxD >= 0, chain.length_BxD, 0)
    end = prompt.next_position_B[:, None] + jnp.cumsum(length, axis=1)
    position = (end - length)[:, :, None] + jnp.arange(L)
    valid = jnp.arange(L) < length[:, :, None]
    return State(
        kv=KV(*(jnp.concatenate(pair, axis=2) for pair in zip(prompt.kv, pages, strict=True))),
        position_BxC=jnp.concatenate([prompt.position_BxC, position.reshape(B, D * L)], axis=1),
        mask_BxC=jnp.concatenate([prompt.mask_BxC, valid.reshape(B, D * L)], axis=1),
        hidden_BxD=prompt.hidden_BxD,
        next_position_B=end[:, -1],
    )


@jax.named_scope("pages")
def with_step(before: State, step: State, place_B) -> State:
    """The context once a step is read: as `read_chain` of the chain with the step's page, without
    reading the pool again. place_B: where in the context that page begins.
    """
    B, L = step.mask_BxC.shape
    row, token = jnp.arange(B)[:, None], place_B[:, None] + jnp.arange(L)
    put = lambda x, y: x.at[row, token].set(y)  # noqa: E731
    return State(
        jax.tree.map(lambda x, y: x.at[:, row, token].set(y), before.kv, step.kv),
        put(before.position_BxC, step.position_BxC),
        put(before.mask_BxC, step.mask_BxC),
        step.hidden_BxD,
        step.next_position_B,
    )
