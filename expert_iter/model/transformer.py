"""A decoder-only transformer with a language-model head and a value head on one trunk.

The family of Gemma and Llama: RMSNorm, rotary positions, grouped-query attention, gated MLP, tied
embedding. Attention has one form for every use: Q new tokens a row attend to C tokens of the *past*
(cached keys and values) and to each other, each as a mask says.

| use | Q | past | new tokens see |
|---|---|---|---|
| prefill a prompt or a step | its tokens | nothing, or prompt and earlier steps | causal |
| decode K candidates | K, one each | context, all candidates' earlier tokens | only themselves |
| train on a tree of steps | all tokens of the tree | nothing | a token's ancestors |

Shape suffixes: B rows, Q new tokens, C past tokens, D width, H KV heads, G query heads a KV head, E
head width.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from expert_iter.errors import UserError


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
    """Shape of the network. `sliding_window` tokens (0: none) hold in all but every
    `global_every`-th layer.
    """

    num_layers: int = 3
    width: int = 128
    num_heads: int = 4
    num_kv_heads: int = 1
    head_dim: int = 32
    mlp_width: int = 256
    activation: str = "gelu"
    rope_base: float = 10_000.0
    norm_epsilon: float = 1e-6
    attention_softcap: float = 0.0
    logit_softcap: float = 0.0
    sliding_window: int = 0
    global_every: int = 0
    dtype: str = "float32"

    def __post_init__(self):
        for key in ("num_layers", "width", "num_heads", "num_kv_heads", "head_dim", "mlp_width"):
            if getattr(self, key) < 1:
                raise UserError(f"model.{key} must be at least 1, got {getattr(self, key)}")
        for key in ("attention_softcap", "logit_softcap", "sliding_window", "global_every"):
            if getattr(self, key) < 0:
                raise UserError(
                    f"model.{key} must not be negative (0 turns it off), got {getattr(self, key)}"
                )
        for key in ("rope_base", "norm_epsilon"):
            if getattr(self, key) <= 0:
                raise UserError(f"model.{key} must be positive, got {getattr(self, key)}")
        if self.num_heads % self.num_kv_heads:
            raise UserError(
                f"model.num_heads ({self.num_heads}) must be a multiple of model.num_kv_heads "
                f"({self.num_kv_heads})"
            )
        if self.head_dim % 2:
            raise UserError(
                f"model.head_dim must be even for rotary positions, got {self.head_dim}"
            )
        if self.activation not in ("gelu", "silu"):
            raise UserError(f"model.activation must be 'gelu' or 'silu', got {self.activation!r}")
        if self.dtype not in ("float32", "bfloat16"):
            raise UserError(f"model.dtype must be 'float32' or 'bfloat16', got {self.dtype!r}")


class KV(NamedTuple):
    """Cached keys (rotated already) and values, each `[layers, B, C, H, E]`."""

    k: jax.Array
    v: jax.Array


class Past(NamedTuple):
    """What new tokens may attend to besides themselves.

    kv: keys and values `[layers, B, C, H, E]`; position_BxC: each past token's place in its text;
    mask_BxQxC: which past tokens each new token sees.
    """

    kv: KV
    position_BxC: jax.Array
    mask_BxQxC: jax.Array


class RMSNorm(nnx.Module):
    """x / rms(x) · (1 + scale), computed in float32 (Zhang and Sennrich 2019; Gemma's
    parametrisation).
    """

    def __init__(self, width: int, epsilon: float):
        self.scale = nnx.Param(jnp.zeros(width))
        self.epsilon = epsilon

    def __call__(self, x):
        x32 = x.astype(jnp.float32)
        x32 = x32 * jax.lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + self.epsilon)
        return (x32 * (1.0 + self.scale[...])).astype(x.dtype)


def rotate(x_BxQxNxE, position_BxQ, base: float):
    """Rotary position embedding (Su 2021), halves convention of Llama and Gemma."""
    half = x_BxQxNxE.shape[-1] // 2
    frequency = base ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angle = position_BxQ[..., None, None].astype(jnp.float32) * frequency
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    a, b = jnp.split(x_BxQxNxE.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1).astype(x_BxQxNxE.dtype)


def softcap(x, cap: float):
    """cap · tanh(x / cap); Gemma 2's bound on scores and logits. `cap=0` leaves x alone."""
    return cap * jnp.tanh(x / cap) if cap else x


class Attention(nnx.Module):
    def __init__(self, config: TransformerConfig, rngs: nnx.Rngs):
        c = self.config = config
        init = nnx.initializers.normal(c.width**-0.5)
        self.q = nnx.Param(init(rngs.params(), (c.width, c.num_heads * c.head_dim)))
        self.k = nnx.Param(init(rngs.params(), (c.width, c.num_kv_heads * c.head_dim)))
        self.v = nnx.Param(init(rngs.params(), (c.width, c.num_kv_heads * c.head_dim)))
        out_scale = (
            c.num_heads * c.head_dim * 2 * c.num_layers
        ) ** -0.5  # GPT-2: residual branches start small
        self.out = nnx.Param(
            nnx.initializers.normal(out_scale)(rngs.params(), (c.num_heads * c.head_dim, c.width))
        )

    def __call__(self, x_BxQxD, position_BxQ, past: tuple | None, mask_BxQxA):
        """Attends to A = C + Q tokens, the past first. `past`: this layer's keys and values `[B, C,
        H, E]`.
        """
        c, (B, Q, _) = self.config, x_BxQxD.shape
        H, E = c.num_kv_heads, c.head_dim
        q = (x_BxQxD @ self.q[...].astype(x_BxQxD.dtype)).reshape(B, Q, c.num_heads, E)
        k = (x_BxQxD @ self.k[...].astype(x_BxQxD.dtype)).reshape(B, Q, H, E)
        v = (x_BxQxD @ self.v[...].astype(x_BxQxD.dtype)).reshape(B, Q, H, E)
        q = rotate(q, position_BxQ, c.rope_base) * E**-0.5
        k = rotate(k, position_BxQ, c.rope_base)
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
        scores = jnp.where(jnp.repeat(mask_BxQxA, G, axis=1)[:, None], scores, -1e30)
        weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
        split = weights.shape[-1] - Q
        parts = [weights] if past is None else [weights[..., :split], weights[..., split:]]
        out = sum(
            jnp.einsum("bhra,bahe->bhre", part, values)
            for part, (_, values) in zip(parts, sources, strict=True)
        )
        out = out.reshape(B, H, Q, G * E).swapaxes(1, 2).reshape(B, Q, H * G * E)
        return out @ self.out[...].astype(x_BxQxD.dtype), (k, v)


class Block(nnx.Module):
    """One layer: attention and gated MLP, each on a normalised input and added to the stream."""

    def __init__(self, config: TransformerConfig, rngs: nnx.Rngs):
        c = self.config = config
        init = nnx.initializers.normal(c.width**-0.5)
        self.attention_norm = RMSNorm(c.width, c.norm_epsilon)
        self.attention = Attention(c, rngs)
        self.mlp_norm = RMSNorm(c.width, c.norm_epsilon)
        self.gate = nnx.Param(init(rngs.params(), (c.width, c.mlp_width)))
        self.up = nnx.Param(init(rngs.params(), (c.width, c.mlp_width)))
        down_init = nnx.initializers.normal((c.mlp_width * 2 * c.num_layers) ** -0.5)
        self.down = nnx.Param(down_init(rngs.params(), (c.mlp_width, c.width)))

    def __call__(self, x, position_BxQ, past, mask_BxQxA):
        attended, kv = self.attention(self.attention_norm(x), position_BxQ, past, mask_BxQxA)
        x = x + attended
        y = self.mlp_norm(x)
        activation = {"gelu": nnx.gelu, "silu": nnx.silu}[self.config.activation]
        gated = activation(y @ self.gate[...].astype(y.dtype)) * (y @ self.up[...].astype(y.dtype))
        return x + gated @ self.down[...].astype(y.dtype), kv


class Transformer(nnx.Module):
    """The network's parameters and its forward pass; use it through `Network`."""

    def __init__(self, config: TransformerConfig, vocab_size: int, rngs: nnx.Rngs):
        self.config = config
        init = nnx.initializers.normal(config.width**-0.5)
        self.embedding = nnx.Param(0.2 * init(rngs.params(), (vocab_size, config.width)))
        # All layers' parameters are stacked on a leading axis and run by a scan: compile time is
        # flat in depth.
        stack = nnx.vmap(lambda key: Block(config, nnx.Rngs(params=key)))
        self.blocks = stack(jax.random.split(rngs.params(), config.num_layers))
        self.final_norm = RMSNorm(config.width, config.norm_epsilon)
        self.value_weight = nnx.Param(jnp.zeros(config.width))
        self.value_bias = nnx.Param(jnp.zeros(()))

    def hidden(self, token_BxQ, position_BxQ, mask_BxQxQ, past: Past | None):
        c = self.config
        x = self.embedding[...].astype(c.dtype)[token_BxQ] * jnp.asarray(c.width**0.5, c.dtype)
        mask = (
            mask_BxQxQ if past is None else jnp.concatenate([past.mask_BxQxC, mask_BxQxQ], axis=-1)
        )
        distance = None
        if c.sliding_window:
            at = (
                position_BxQ
                if past is None
                else jnp.concatenate([past.position_BxC, position_BxQ], axis=-1)
            )
            distance = position_BxQ[:, :, None] - at[:, None, :]
        graph, params = nnx.split(self.blocks)

        # The backward pass keeps the projections and computes the rest again: on CPU 0.7 of the
        # time of keeping all.
        @functools.partial(
            jax.checkpoint,
            prevent_cse=False,
            policy=jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
        )
        def layer(x, inputs):
            params, past_kv, is_global = inputs
            visible = (
                mask if distance is None else mask & (is_global | (distance < c.sliding_window))
            )
            return nnx.merge(graph, params)(x, position_BxQ, past_kv, visible)

        index = jnp.arange(1, c.num_layers + 1)
        is_global = (
            (index % c.global_every == 0) if c.global_every else jnp.zeros(c.num_layers, bool)
        )
        past_kv = None if past is None else tuple(past.kv)
        x, kv = jax.lax.scan(layer, x, (params, past_kv, is_global))
        return self.final_norm(x), KV(*kv)

    def logits(self, hidden):
        weights = self.embedding[...].astype(hidden.dtype)
        return softcap(
            jnp.einsum("...d,vd->...v", hidden, weights, preferred_element_type=jnp.float32),
            self.config.logit_softcap,
        )

    def value_logit(self, hidden):
        return hidden.astype(jnp.float32) @ self.value_weight[...] + self.value_bias[...]


class Network:
    """The transformer as pure functions of a parameter tree (nested dicts of arrays)."""

    def __init__(self, config: TransformerConfig, vocab_size: int):
        self.config, self.vocab_size = config, vocab_size
        abstract = nnx.eval_shape(lambda: Transformer(config, vocab_size, nnx.Rngs(0)))
        self._graph, self._abstract = nnx.split(abstract)

    def init(self, key) -> dict:
        """Fresh float32 parameters; the value head starts at zero, that is at a probability of one
        half.
        """
        model = Transformer(self.config, self.vocab_size, nnx.Rngs(params=key))
        return nnx.to_pure_dict(nnx.state(model))

    def abstract_params(self) -> dict:
        return nnx.to_pure_dict(self._abstract)

    def _bind(self, params: dict) -> Transformer:
        return nnx.merge(self._graph, nnx.State(params))

    def hidden(self, params, token_BxQ, position_BxQ, mask_BxQxQ, past: Past | None = None):
        """Runs the trunk over Q new tokens a row.

        Returns the normalised last hidden states `[B, Q, D]`, and the new tokens' keys and values
        `[layers, B, Q, H, E]`.
        """
        return self._bind(params).hidden(token_BxQ, position_BxQ, mask_BxQxQ, past)

    def logits(self, params, hidden):
        """Next-token logits `[..., V]`, float32, of hidden states `[..., D]`."""
        return self._bind(params).logits(hidden)

    def value_logit(self, params, hidden):
        """Log-odds `[...]`, float32, that the text up to here ends in a verified solution."""
        return self._bind(params).value_logit(hidden)

    def empty_kv(self, rows: int, tokens: int) -> KV:
        """Zeroed room for `tokens` keys and values in each of `rows` rows."""
        c = self.config
        shape = (c.num_layers, rows, tokens, c.num_kv_heads, c.head_dim)
        return KV(jnp.zeros(shape, c.dtype), jnp.zeros(shape, c.dtype))


def causal_mask(valid_BxQ):
    """Mask `[B, Q, Q]`: each token sees itself and the valid tokens before it."""
    Q = valid_BxQ.shape[1]
    return jnp.tril(jnp.ones((Q, Q), bool)) & (valid_BxQ[:, None, :] | jnp.eye(Q, dtype=bool))
