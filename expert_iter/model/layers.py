"""The layers of the transformer: grouped-query attention and gated MLP, with norms and adapters.

Shape suffixes: B rows, Q new tokens, C past tokens, A = C + Q, N = B·Q, D width, H KV heads, G
query heads a KV head, E head width.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import Sharding

from expert_iter.model.parameters import ADAPTER, matrices
from expert_iter.model.rope import Rotation, rotate
from expert_iter.model.transformer_config import TransformerConfig


class RMSNorm(nnx.Module):
    """x / rms(x) · (1 + scale), computed in float32 (Zhang and Sennrich 2019).

    plus_one: Gemma's form, as above. Without it x / rms(x) · scale, as in Llama.
    """

    def __init__(self, width: int, epsilon: float, plus_one: bool):
        self.scale = nnx.Param(jnp.zeros(width) if plus_one else jnp.ones(width))
        self.epsilon, self.plus_one = epsilon, plus_one

    def __call__(self, x):
        x32 = x.astype(jnp.float32)
        x32 = x32 * jax.lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + self.epsilon)
        scale = 1.0 + self.scale[...] if self.plus_one else self.scale[...]
        return (x32 * scale).astype(x.dtype)


def softcap(x, cap: float):
    """cap · tanh(x / cap); Gemma 2's bound on scores and logits. `cap=0` leaves x alone."""
    return cap * jnp.tanh(x / cap) if cap else x


class Adapter(nnx.Module):
    """x A B · alpha / rank (LoRA, Hu et al. 2021); B starts at zero, so that it adds nothing."""

    def __init__(self, inputs: int, outputs: int, config: TransformerConfig, rngs: nnx.Rngs):
        rank = config.lora_rank
        self.a = nnx.Param(nnx.initializers.normal(inputs**-0.5)(rngs.params(), (inputs, rank)))
        self.b = nnx.Param(jnp.zeros((rank, outputs)))
        self.scale = config.lora_alpha / rank

    def __call__(self, x):
        return self.scale * kept(x @ self.a[...].astype(x.dtype)) @ self.b[...].astype(x.dtype)


def add_adapters(module: nnx.Module, name: str, config, rngs: nnx.Rngs) -> None:
    """Puts an adapter beside each matrix of the module, if the config asks for adapters.

    name: of the module, as in the names of its parameters.
    """
    for matrix in matrices(name) if config.lora_rank else ():
        adapter = Adapter(*getattr(module, matrix).shape, config, rngs)
        setattr(module, matrix + ADAPTER, adapter)


class Stream:
    """On which devices the stream of tokens lies while it is learned from.

    Layers multiply whole rows, each device with its part of the weights. Between products a device
    holds its part of the tokens alone, where there are several parts of the weights: what is kept
    for the backward pass is so many times smaller, and a sum over devices with its share of it
    sent to each is no more to send than one sent to all (sequence parallelism, Korthikanti et al.
    2022).

    rows, tokens: shardings of the first dimension of [N, D]. None: nothing is said of devices.
    """

    def __init__(self, rows: Sharding | None = None, tokens: Sharding | None = None):
        self.rows, self.tokens = rows, tokens

    def between(self, x):
        return jax.lax.with_sharding_constraint(x, self.tokens) if self.tokens else x

    # Both say what lies on either side: from one of them XLA would cut the products otherwise.

    def before_products(self, x):
        if self.tokens is self.rows:
            return x
        return jax.lax.with_sharding_constraint(self.between(x), self.rows)

    def after_products(self, x):
        if self.tokens is self.rows:
            return x
        return self.between(jax.lax.with_sharding_constraint(x, self.rows))


KEPT = "kept"  # the name of what the backward pass does not compute again


def kept(x):
    return checkpoint_name(x, KEPT)


def product(x, module: nnx.Module, name: str, placed=lambda y: y):
    """x times a matrix of the module, plus what its adapter adds."""
    y = kept(placed(x @ getattr(module, name)[...].astype(x.dtype)))
    adapter = getattr(module, name + ADAPTER, None)
    return y if adapter is None else y + kept(placed(adapter(x)))


class Attention(nnx.Module):
    """Grouped-query attention (Ainslie et al. 2023) with rotary positions."""

    def __init__(self, config: TransformerConfig, rngs: nnx.Rngs):
        c = self.config = config
        query, kv, dtype = c.num_heads * c.head_dim, c.num_kv_heads * c.head_dim, c.param_dtype
        init = nnx.initializers.normal(c.width**-0.5)
        self.q = nnx.Param(init(rngs.params(), (c.width, query), dtype))
        self.k = nnx.Param(init(rngs.params(), (c.width, kv), dtype))
        self.v = nnx.Param(init(rngs.params(), (c.width, kv), dtype))
        # Residual branches start small, as in GPT-2.
        out_init = nnx.initializers.normal((query * 2 * c.num_layers) ** -0.5)
        self.out = nnx.Param(out_init(rngs.params(), (query, c.width), dtype))
        if c.qkv_bias:
            self.q_bias = nnx.Param(jnp.zeros(query, dtype))
            self.k_bias = nnx.Param(jnp.zeros(kv, dtype))
            self.v_bias = nnx.Param(jnp.zeros(kv, dtype))
        if c.qk_norm:
            self.q_norm = RMSNorm(c.head_dim, c.norm_epsilon, c.norm_plus_one)
            self.k_norm = RMSNorm(c.head_dim, c.norm_epsilon, c.norm_plus_one)
        add_adapters(self, "blocks.attention", c, rngs)

    def __call__(self, x_NxD, turn: Rotation, past: tuple | None, mask_BxQxA, stream: Stream):
        """Attends to A = C + Q tokens, the past first.

        Args:
          x_NxD: inputs of N = B·Q new tokens.
          turn: this layer's rotary angles.
          past: this layer's cached keys and values, each `[B, C, H, E]`; None: no past.
          mask_BxQxA: bool. What each new token sees.
          stream: where the outputs lie.

        Returns:
          Outputs `[N, D]`, and the new tokens' keys and values, each `[B, Q, H, E]`.
        """
        c, (B, Q, A) = self.config, mask_BxQxA.shape
        H, E = c.num_kv_heads, c.head_dim
        q, k, v = (product(x_NxD, self, name) for name in ("q", "k", "v"))
        if c.qkv_bias:
            biases = self.q_bias, self.k_bias, self.v_bias
            q, k, v = (x + b[...].astype(x.dtype) for x, b in zip((q, k, v), biases, strict=True))
        q, k, v = (x.reshape(B, Q, -1, E) for x in (q, k, v))
        if c.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        q = rotate(q, turn) * (c.query_scale or E) ** -0.5
        k = rotate(k, turn)
        # All query heads of a KV head and all new tokens in one dimension (R = Q·G): one matrix
        # product a KV head.
        G = c.num_heads // H
        q = q.reshape(B, Q, H, G, E).swapaxes(1, 2).reshape(B, H, Q * G, E)
        # Scores against past and new keys are computed apart: the past is a large buffer not worth
        # a copy.
        sources = [(k, v)] if past is None else [past, (k, v)]
        scores = [
            jnp.einsum("bhre,bahe->bhra", q, keys, preferred_element_type=jnp.float32)
            for keys, _ in sources
        ]
        scores = softcap(jnp.concatenate(scores, axis=-1), c.attention_softcap)
        scores = scores.reshape(B, H, Q, G, A)
        scores = jnp.where(mask_BxQxA[:, None, :, None], scores, -1e30).reshape(B, H, Q * G, A)
        weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
        split = weights.shape[-1] - Q
        parts = [weights] if past is None else [weights[..., :split], weights[..., split:]]
        out = sum(
            jnp.einsum("bhra,bahe->bhre", part, values)
            for part, (_, values) in zip(parts, sources, strict=True)
        )
        out = out.reshape(B, H, Q, G * E).swapaxes(1, 2).reshape(B * Q, H * G * E)
        return product(out, self, "out", stream.after_products), (k, v)


class Block(nnx.Module):
    """One layer: attention and gated MLP, each on a normalised input and added to the stream."""

    def __init__(self, config: TransformerConfig, rngs: nnx.Rngs):
        c = self.config = config
        norm = lambda: RMSNorm(c.width, c.norm_epsilon, c.norm_plus_one)  # noqa: E731
        init = nnx.initializers.normal(c.width**-0.5)
        self.attention_norm = norm()
        self.attention = Attention(c, rngs)
        self.mlp_norm = norm()
        if c.post_norms:
            self.post_attention_norm, self.post_mlp_norm = norm(), norm()
        self.gate = nnx.Param(init(rngs.params(), (c.width, c.mlp_width), c.param_dtype))
        self.up = nnx.Param(init(rngs.params(), (c.width, c.mlp_width), c.param_dtype))
        down_init = nnx.initializers.normal((c.mlp_width * 2 * c.num_layers) ** -0.5)
        self.down = nnx.Param(down_init(rngs.params(), (c.mlp_width, c.width), c.param_dtype))
        add_adapters(self, "blocks", c, rngs)

    def __call__(self, x, turn: Rotation, past, mask_BxQxA, stream: Stream):
        y = stream.before_products(self.attention_norm(x))
        y, kv = self.attention(y, turn, past, mask_BxQxA, stream)
        x = x + (self.post_attention_norm(y) if self.config.post_norms else y)
        y = stream.before_products(self.mlp_norm(x))
        activation = {"gelu": nnx.gelu, "silu": nnx.silu}[self.config.activation]
        y = activation(product(y, self, "gate")) * product(y, self, "up")
        y = product(y, self, "down", stream.after_products)
        return x + (self.post_mlp_norm(y) if self.config.post_norms else y), kv
