"""Log-probabilities of given tokens, with the logits of a part of the vocabulary alive at a time.

Logits of a whole vocabulary are the largest arrays of an update: Gemma 2 has 256,000 pieces, so
that one array of them for 4,096 tokens takes 4.2 GB in float32, and the backward pass holds two.
Here a scan over chunks of the vocabulary keeps of each the sum of its exponentials alone. The
backward pass computes the logits again, which is a third of the head's work more.

Chunks of tokens would add up the head's gradient from chunk to chunk, in a buffer as large as all
of the head. Chunks of the vocabulary write each of its rows once.

Shape suffixes: R rows, T tokens a row, V pieces of the vocabulary, D width; S shards of the
vocabulary, C pieces of a chunk.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding, PartitionSpec

from expert_iter.model.layers import softcap
from expert_iter.model.transformer import Network
from expert_iter.pod.mesh import FSDP, TENSOR

_FLOAT = 4
# Bytes on a device. Below the first the logits are computed at once, as is faster: on the CPU of a
# quick start they take 1 MB. A chunk of the second is still a large product: at 4,096 tokens it has
# 8,000 pieces.
AT_ONCE, CHUNK = 1 << 28, 1 << 27
_LANES = 128  # of a TPU's tile: a chunk is so many pieces times a whole number


class Chunks(NamedTuple):
    """How the vocabulary is cut.

    Attributes:
      shards: S, parts of it on devices of their own.
      size: C, pieces of a chunk, of each shard.
      cap: bound on logits, by tanh (see `softcap`).
      where: on which devices rows lie; None: nothing is said of devices.
    """

    shards: int
    size: int
    cap: float
    where: NamedSharding | None


def token_log_probs(
    network: Network, params, hidden_RxTxD, token_RxT, where: NamedSharding | None = None
):
    """[R, T] float32. log π of each token by the hidden state that predicts it."""
    chunks = _chunks(network, token_RxT.size, where)
    if not chunks:
        logits = network.logits(params, hidden_RxTxD)
        return -optax.softmax_cross_entropy_with_integer_labels(logits, token_RxT)
    return _in_chunks(chunks, hidden_RxTxD, network.output_embedding(params), token_RxT)


def _chunks(network: Network, tokens: int, where: NamedSharding | None) -> Chunks | None:
    """None: all at once."""
    shape = where.mesh.shape if where else {}
    shards = shape.get(TENSOR, 1)
    if network.vocab_size % shards:
        shards = 1
    a_device = tokens // math.prod(shape[axis] for axis in where.spec[0]) if where else tokens
    pieces = network.vocab_size // shards
    if a_device * pieces * _FLOAT <= AT_ONCE:
        return None
    count = -(-a_device * pieces * _FLOAT // CHUNK)
    size = min(-(-pieces // (count * _LANES)) * _LANES, pieces)
    return Chunks(shards, size, network.config.logit_softcap, where)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _in_chunks(chunks: Chunks, hidden_RxTxD, head_VxD, token_RxT):
    return _forward(chunks, hidden_RxTxD, head_VxD, token_RxT)[0]


def _forward(chunks: Chunks, hidden_RxTxD, head_VxD, token_RxT):
    head_SxPxD = _by_shard(chunks, head_VxD)

    def chunk(_, number):
        weights, _, piece_SxC, is_first = _taken(chunks, head_SxPxD, number, hidden_RxTxD.dtype)
        logits = softcap(_products(hidden_RxTxD, weights), chunks.cap)
        is_token = _is_token(piece_SxC, token_RxT) & is_first
        picked = jnp.sum(jnp.where(is_token, logits, 0.0), axis=-1)
        return None, (jax.nn.logsumexp(jnp.where(is_first, logits, -jnp.inf), axis=-1), picked)

    numbers = jnp.arange(_count(chunks, head_SxPxD))
    _, (norms, picked) = jax.lax.scan(chunk, None, numbers)
    norm_RxT = jax.nn.logsumexp(norms, axis=(0, 1))
    kept = hidden_RxTxD, head_VxD, token_RxT, norm_RxT
    return jnp.sum(picked, axis=(0, 1)) - norm_RxT, kept


def _backward(chunks: Chunks, kept, gradient_RxT):
    hidden_RxTxD, head_VxD, token_RxT, norm_RxT = kept
    head_SxPxD, dtype = _by_shard(chunks, head_VxD), hidden_RxTxD.dtype

    def chunk(carry, number):
        to_hidden, to_head = carry
        weights, start, piece_SxC, is_first = _taken(chunks, head_SxPxD, number, dtype)
        cap = functools.partial(softcap, cap=chunks.cap)
        logits, through_cap = jax.vjp(cap, _products(hidden_RxTxD, weights))
        chance = jnp.exp(logits - norm_RxT[..., None])
        [slope] = through_cap(
            gradient_RxT[..., None]
            * (_is_token(piece_SxC, token_RxT).astype(chance.dtype) - chance)
        )
        slope = slope.astype(dtype)  # as a TPU's products would round it
        f32 = dict(preferred_element_type=jnp.float32)
        to_weights = jnp.einsum("srtc,rtd->scd", slope, hidden_RxTxD, **f32)
        to_weights = _put(chunks, to_weights.astype(to_head.dtype), TENSOR, None, FSDP)
        to_head = jax.lax.dynamic_update_slice_in_dim(to_head, to_weights, start, axis=1)
        slope = jnp.where(is_first, slope, 0)
        to_hidden += jnp.einsum("srtc,scd->srtd", slope, weights, **f32)
        return (_put(chunks, to_hidden, TENSOR, "rows"), to_head), None

    zeros = jnp.zeros((chunks.shards, *hidden_RxTxD.shape), jnp.float32)
    start = (
        _put(chunks, zeros, TENSOR, "rows"),
        _put(chunks, jnp.zeros_like(head_SxPxD), TENSOR, None, FSDP),
    )
    numbers = jnp.arange(_count(chunks, head_SxPxD))
    (to_hidden, to_head), _ = jax.lax.scan(chunk, start, numbers)
    return jnp.sum(to_hidden, axis=0).astype(dtype), to_head.reshape(head_VxD.shape), None


_in_chunks.defvjp(_forward, _backward)


def _by_shard(chunks: Chunks, head_VxD):
    """[S, P, D], of P pieces a shard."""
    shape = chunks.shards, head_VxD.shape[0] // chunks.shards, head_VxD.shape[1]
    return _put(chunks, head_VxD.reshape(shape), TENSOR, None, FSDP)


def _count(chunks: Chunks, head_SxPxD) -> int:
    return -(-head_SxPxD.shape[1] // chunks.size)


def _taken(chunks: Chunks, head_SxPxD, number, dtype):
    """A chunk's weights [S, C, D], whole on each device, its first place in a shard, its pieces
    [S, C], and whether they come for the first time [C]: the last chunk begins early enough to be
    as long as the others.
    """
    pieces = head_SxPxD.shape[1]
    start = jnp.minimum(number * chunks.size, pieces - chunks.size)
    weights = jax.lax.dynamic_slice_in_dim(head_SxPxD, start, chunks.size, axis=1)
    place = start + jnp.arange(chunks.size)
    piece = jnp.arange(chunks.shards)[:, None] * pieces + place
    # Rounded before they are gathered, which is half of the bytes.
    weights = _put(chunks, weights.astype(dtype), TENSOR, None, FSDP)
    return _put(chunks, weights, TENSOR), start, piece, place >= number * chunks.size


def _products(hidden_RxTxD, weights_SxCxD):
    """[S, R, T, C] float32."""
    return jnp.einsum(
        "rtd,scd->srtc", hidden_RxTxD, weights_SxCxD, preferred_element_type=jnp.float32
    )


def _is_token(piece_SxC, token_RxT):
    return piece_SxC[:, None, None, :] == token_RxT[..., None]


def _put(chunks: Chunks, x, *axes: str | None):
    """Says along which axes of the mesh the dimensions are sharded, "rows" for those of rows; but
    not where the axis does not divide the dimension.
    """
    if chunks.where is None:
        return x
    mesh, rows = chunks.where.mesh, chunks.where.spec[0]
    spec = [rows if axis == "rows" else axis for axis in axes]
    spec = [
        axis if axis == rows or (axis and size % mesh.shape[axis] == 0) else None
        for axis, size in zip(spec, x.shape, strict=False)
    ]
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, PartitionSpec(*spec)))
