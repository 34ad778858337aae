"""A decoder-only transformer with a language-model head and scalar heads on one trunk.

The family of Gemma, Llama, Mistral and Qwen: RMSNorm, rotary positions, grouped-query attention,
gated MLP; with its defaults it is Gemma 1. Attention has one form for every use: Q new tokens a row
attend to C tokens of the *past* (cached keys and values) and to each other, each as a mask says.

| use | Q | past | new tokens see |
|---|---|---|---|
| prefill a prompt or a step | its tokens | nothing, or prompt and earlier steps | causal |
| decode K candidates | K, one each | context, all candidates' earlier tokens | only themselves |
| train on a tree of steps | all tokens of the tree | nothing | a token's ancestors |

Shape suffixes: B rows, Q new tokens, C past tokens, D width, H KV heads, E head width.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec, Sharding

from expert_iter.model.layers import KEPT, Block, RMSNorm, Stream, softcap
from expert_iter.model.parameters import head_names
from expert_iter.model.rope import rope_frequencies, rotation
from expert_iter.model.transformer_config import TransformerConfig


class KV(NamedTuple):
    """Cached keys and values.

    Attributes:
      k: [layers, B, C, H, E], with rotary positions.
      v: [layers, B, C, H, E].
    """

    k: jax.Array
    v: jax.Array


class Past(NamedTuple):
    """What new tokens may attend to besides themselves.

    Attributes:
      kv: keys and values, each [layers, B, C, H, E].
      position_BxC: int32. Each past token's place in its text.
      mask_BxQxC: bool. Which past tokens each new token sees.
    """

    kv: KV
    position_BxC: jax.Array
    mask_BxQxC: jax.Array


class Transformer(nnx.Module):
    """The network's parameters and its forward pass; use it through `Network`."""

    def __init__(
        self, config: TransformerConfig, vocab_size: int, heads: tuple[str, ...], rngs: nnx.Rngs
    ):
        c = self.config = config
        init = nnx.initializers.normal(c.width**-0.5)
        size = vocab_size, c.width
        self.embedding = nnx.Param(0.2 * init(rngs.params(), size, c.param_dtype))
        # All layers' parameters are stacked on a leading axis and run by a scan: compile time is
        # flat in depth.
        stack = nnx.vmap(lambda key: Block(config, nnx.Rngs(params=key)))
        self.blocks = stack(jax.random.split(rngs.params(), c.num_layers))
        self.final_norm = RMSNorm(c.width, c.norm_epsilon, c.norm_plus_one)
        if not c.tie_embedding:
            self.head = nnx.Param(0.2 * init(rngs.params(), size, c.param_dtype))
        for name in heads:
            weight, bias = head_names(name)
            setattr(self, weight, nnx.Param(jnp.zeros(c.width)))
            setattr(self, bias, nnx.Param(jnp.zeros(())))

    def hidden(self, token_BxQ, position_BxQ, mask_BxQxQ, past: Past | None, rows: Sharding | None):
        c = self.config
        stream = _stream(rows, token_BxQ.size)
        x = self.embedding[...].astype(c.dtype)[token_BxQ]
        if c.scale_embedding:
            x = x * jnp.asarray(c.width**0.5, c.dtype)
        mask, position = mask_BxQxQ, position_BxQ
        if past is not None:
            mask = jnp.concatenate([past.mask_BxQxC, mask], axis=-1)
            position = jnp.concatenate([past.position_BxC, position], axis=-1)
        distance = position_BxQ[:, :, None] - position[:, None, :]
        graph, params = nnx.split(self.blocks)

        # The backward pass keeps the projections and computes the rest again: on CPU 0.7 of the
        # time of keeping all.
        @functools.partial(
            jax.checkpoint,
            prevent_cse=False,
            policy=jax.checkpoint_policies.save_only_these_names(KEPT),
        )
        def layer(x, inputs):
            params, past_kv, is_global, turn = inputs
            visible = mask
            if c.sliding_window:
                visible = mask & (is_global | (distance < c.sliding_window))
            block = nnx.merge(graph, params)
            x, kv = block(stream.between(x), turn, past_kv, visible, stream)
            return stream.between(x), kv

        past_kv = None if past is None else tuple(past.kv)
        turns = jax.vmap(lambda frequency: rotation(position_BxQ, frequency))(rope_frequencies(c))
        # All tokens of all rows in one dimension: products with matrices need no transposed copies.
        by_layer = params, past_kv, jnp.array(c.is_global), turns
        x = stream.after_products(x.reshape(-1, c.width))
        x, kv = jax.lax.scan(layer, x, by_layer)
        x = stream.before_products(self.final_norm(x))
        return x.reshape(*token_BxQ.shape, c.width), KV(*kv)

    def output_embedding(self):
        return (self.embedding if self.config.tie_embedding else self.head)[...]

    def logits(self, hidden):
        weights = self.output_embedding().astype(hidden.dtype)
        return softcap(
            jnp.einsum("...d,vd->...v", hidden, weights, preferred_element_type=jnp.float32),
            self.config.logit_softcap,
        )

    def head_logit(self, hidden, name: str):
        weight, bias = (getattr(self, part) for part in head_names(name))
        return hidden.astype(jnp.float32) @ weight[...] + bias[...]


def _stream(rows: Sharding | None, tokens: int) -> Stream:
    """Of so many tokens in rows that lie there: each device of a row holds its part of them."""
    if not isinstance(rows, NamedSharding) or tokens % rows.mesh.size:
        return Stream(rows, rows)
    axes = rows.spec[0]
    others = [axis for axis, size in rows.mesh.shape.items() if axis not in axes and size > 1]
    if not others:
        return Stream(rows, rows)
    return Stream(rows, NamedSharding(rows.mesh, PartitionSpec((*axes, *others))))


class Network:
    """The transformer as pure functions of its parameters, nested dicts of arrays.

    Their names are those of `model.parameters`. heads: names of the scalar heads on the trunk.
    """

    def __init__(
        self, config: TransformerConfig, vocab_size: int, heads: tuple[str, ...] = ("value",)
    ):
        self.config, self.vocab_size, self.heads = config, vocab_size, heads
        abstract = nnx.eval_shape(lambda: Transformer(config, vocab_size, heads, nnx.Rngs(0)))
        self._graph, self._abstract = nnx.split(abstract)

    def init(self, key) -> dict:
        """Fresh parameters; heads start at zero, the value at a probability of one half."""
        model = Transformer(self.config, self.vocab_size, self.heads, nnx.Rngs(params=key))
        return nnx.to_pure_dict(nnx.state(model))

    def abstract_params(self) -> dict:
        return nnx.to_pure_dict(self._abstract)

    def _bind(self, params: dict) -> Transformer:
        return nnx.merge(self._graph, nnx.State(params))

    def hidden(
        self,
        params,
        token_BxQ,
        position_BxQ,
        mask_BxQxQ,
        past: Past | None = None,
        rows: Sharding | None = None,
    ):
        """Runs the trunk over Q new tokens a row.

        Args:
          params: the network's parameters.
          token_BxQ: int32.
          position_BxQ: int32. Each token's place in its text.
          mask_BxQxQ: bool. Which new tokens each new token sees.
          past: earlier tokens that are attended to, too.
          rows: the sharding of rows. Without it XLA shards the layers' work as their weights are
            sharded, and every device works on the rows of many.

        Returns:
          The normalised last hidden states `[B, Q, D]`, and the new tokens' `KV`, with Q in place
          of C.
        """
        return self._bind(params).hidden(token_BxQ, position_BxQ, mask_BxQxQ, past, rows)

    def logits(self, params, hidden):
        """Next-token logits `[..., V]`, float32, of hidden states `[..., D]`."""
        return self._bind(params).logits(hidden)

    def output_embedding(self, params):
        """The matrix [V, D] whose products with hidden states are the logits before their bound."""
        return self._bind(params).output_embedding()

    def value_logit(self, params, hidden):
        """Log-odds `[...]`, float32, that the text up to here ends in a verified solution."""
        return self.head_logit(params, hidden, "value")

    def head_logit(self, params, hidden, name: str):
        """The output `[...]`, float32, of the scalar head of this name."""
        return self._bind(params).head_logit(hidden, name)

    def empty_kv(self, rows: int, tokens: int) -> KV:
        """Zeroed room for `tokens` keys and values in each of `rows` rows."""
        c = self.config
        shape = (c.num_layers, rows, tokens, c.num_kv_heads, c.head_dim)
        return KV(jnp.zeros(shape, c.dtype), jnp.zeros(shape, c.dtype))


def causal_mask(valid_BxQ):
    """Mask `[B, Q, Q]`: each token sees itself and the valid tokens before it."""
    Q = valid_BxQ.shape[1]
    return jnp.tril(jnp.ones((Q, Q), bool)) & (valid_BxQ[:, None, :] | jnp.eye(Q, dtype=bool))
