"""A decoder-only transformer with a language-model head and a value head on one trunk.

The family of Gemma, Llama, Mistral and Qwen: RMSNorm, rotary positions, grouped-query attention,
gated MLP; with its defaults it is Gemma 1. Attention has one form for every use: Q new tokens a row
attend to C tokens of the *past* (cached keys and values) and to each other, each as a mask says.

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
from jax.sharding import Sharding

from expert_iter.errors import UserError


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
    """Shape of the network.

    sliding_window: how many tokens a layer sees (0: all), except the global ones, which are every
    global_every-th (0: none) and those numbered, from 0, in global_layers. query_scale: scores are
    divided by its root (0: by that of head_dim). rope_scaling: 'none', 'linear' (angles divided by
    rope_factor) or 'llama3' (so are those that turn fewer than rope_low_frequency times in
    rope_original_length tokens; not those that turn more than rope_high_frequency times; in between
    it passes from one to the other). local_rope_base: of layers that slide, never scaled (0: as the
    global ones). qkv_bias: added to queries, keys and values. qk_norm: norms of each head's query
    and key. post_norms: norms of what attention and MLP add. norm_plus_one: norms multiply by
    1 + scale, else by scale. scale_embedding: by the root of width. tie_embedding: the embedding is
    the output head, too. dtype: of the computation; param_dtype: of the parameters, except norms,
    adapters and value head, which are float32 always. lora_rank: of an adapter beside each matrix
    of the layers, which is trained in its place (0: none); what it adds is multiplied by
    lora_alpha / lora_rank.
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
    global_layers: tuple = ()
    query_scale: float = 0.0
    rope_scaling: str = "none"
    rope_factor: float = 1.0
    rope_low_frequency: float = 1.0
    rope_high_frequency: float = 4.0
    rope_original_length: int = 8192
    local_rope_base: float = 0.0
    qkv_bias: bool = False
    qk_norm: bool = False
    post_norms: bool = False
    norm_plus_one: bool = True
    scale_embedding: bool = True
    tie_embedding: bool = True
    dtype: str = "float32"
    param_dtype: str = "float32"
    lora_rank: int = 0
    lora_alpha: float = 16.0

    def __post_init__(self):
        sizes = ("num_layers", "width", "num_heads", "num_kv_heads", "head_dim", "mlp_width")
        for key in (*sizes, "rope_original_length"):
            if getattr(self, key) < 1:
                raise UserError(f"model.{key} must be at least 1, got {getattr(self, key)}")
        caps = ("attention_softcap", "logit_softcap")
        off = *caps, "sliding_window", "global_every", "query_scale", "local_rope_base", "lora_rank"
        for key in off:
            if getattr(self, key) < 0:
                raise UserError(
                    f"model.{key} must not be negative (0 turns it off), got {getattr(self, key)}"
                )
        for key in ("rope_base", "norm_epsilon", "rope_factor", "rope_low_frequency", "lora_alpha"):
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
        if self.local_rope_base and not self.sliding_window:
            raise UserError("model.local_rope_base is for sliding layers: set model.sliding_window")
        if self.rope_high_frequency <= self.rope_low_frequency:
            raise UserError(
                f"model.rope_high_frequency ({self.rope_high_frequency}) must be above "
                f"model.rope_low_frequency ({self.rope_low_frequency})"
            )
        for layer in self.global_layers:
            if type(layer) is not int or not 0 <= layer < self.num_layers:
                raise UserError(
                    f"model.global_layers must be whole numbers from 0 to {self.num_layers - 1}, "
                    f"got {layer!r}"
                )
        floats = ("float32", "bfloat16")
        for key, known in (
            ("activation", ("gelu", "silu")),
            ("rope_scaling", ("none", "linear", "llama3")),
            ("dtype", floats),
            ("param_dtype", floats),
        ):
            if getattr(self, key) not in known:
                names = ", ".join(map(repr, known))
                raise UserError(f"model.{key} must be one of {names}, got {getattr(self, key)!r}")

    @property
    def is_global(self) -> tuple[bool, ...]:
        """Whether each layer is exempt from the sliding window."""
        every = self.global_every
        return tuple(
            i in self.global_layers or (every > 0 and (i + 1) % every == 0)
            for i in range(self.num_layers)
        )


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
    parametrisation); without plus_one x / rms(x) · scale (Llama's).
    """

    def __init__(self, width: int, epsilon: float, plus_one: bool):
        self.scale = nnx.Param(jnp.zeros(width) if plus_one else jnp.ones(width))
        self.epsilon, self.plus_one = epsilon, plus_one

    def __call__(self, x):
        x32 = x.astype(jnp.float32)
        x32 = x32 * jax.lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + self.epsilon)
        scale = 1.0 + self.scale[...] if self.plus_one else self.scale[...]
        return (x32 * scale).astype(x.dtype)


def rope_frequencies(config: TransformerConfig):
    """Angle per position `[layers, E / 2]` of each pair of a head's dimensions."""
    c, half = config, config.head_dim // 2
    plain = lambda base: base ** (-jnp.arange(half, dtype=jnp.float32) / half)  # noqa: E731
    frequency = plain(c.rope_base)
    if c.rope_scaling == "linear":
        frequency = frequency / c.rope_factor
    elif c.rope_scaling == "llama3":
        turns = c.rope_original_length * frequency / (2 * jnp.pi)
        keep = (turns - c.rope_low_frequency) / (c.rope_high_frequency - c.rope_low_frequency)
        keep = jnp.clip(keep, 0.0, 1.0)
        frequency = (1 - keep) * frequency / c.rope_factor + keep * frequency
    if c.local_rope_base:
        is_global = jnp.array(c.is_global)[:, None]
        return jnp.where(is_global, frequency, plain(c.local_rope_base))
    return jnp.broadcast_to(frequency, (c.num_layers, half))


class Rotation(NamedTuple):
    """Cosine and sine `[B, Q, 1, E / 2]` of each token's rotary angles."""

    cos: jax.Array
    sin: jax.Array


def rotation(position_BxQ, frequency) -> Rotation:
    """frequency: angles per position `[E / 2]`."""
    angle = position_BxQ[..., None, None].astype(jnp.float32) * frequency
    return Rotation(jnp.cos(angle), jnp.sin(angle))


def rotate(x_BxQxNxE, by: Rotation):
    """Rotary position embedding (Su 2021), halves convention of Llama and Gemma."""
    a, b = jnp.split(x_BxQxNxE.astype(jnp.float32), 2, axis=-1)
    turned = [a * by.cos - b * by.sin, b * by.cos + a * by.sin]
    return jnp.concatenate(turned, axis=-1).astype(x_BxQxNxE.dtype)


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
        return self.scale * (x @ self.a[...].astype(x.dtype)) @ self.b[...].astype(x.dtype)


def add_adapters(module: nnx.Module, names: tuple[str, ...], config, rngs: nnx.Rngs) -> None:
    """Puts an adapter `q_lora` beside each matrix `q` of these names, if there are to be any."""
    for name in names if config.lora_rank else ():
        setattr(module, f"{name}_lora", Adapter(*getattr(module, name).shape, config, rngs))


def product(x, module: nnx.Module, name: str):
    """x times a matrix of the module, and what its adapter adds."""
    y = x @ getattr(module, name)[...].astype(x.dtype)
    adapter = getattr(module, f"{name}_lora", None)
    return y if adapter is None else y + adapter(x)


class Attention(nnx.Module):
    def __init__(self, config: TransformerConfig, rngs: nnx.Rngs):
        c = self.config = config
        query, kv, dtype = c.num_heads * c.head_dim, c.num_kv_heads * c.head_dim, c.param_dtype
        init = nnx.initializers.normal(c.width**-0.5)
        self.q = nnx.Param(init(rngs.params(), (c.width, query), dtype))
        self.k = nnx.Param(init(rngs.params(), (c.width, kv), dtype))
        self.v = nnx.Param(init(rngs.params(), (c.width, kv), dtype))
        out_init = nnx.initializers.normal((query * 2 * c.num_layers) ** -0.5)
        # GPT-2: residual branches start small.
        self.out = nnx.Param(out_init(rngs.params(), (query, c.width), dtype))
        if c.qkv_bias:
            self.q_bias = nnx.Param(jnp.zeros(query, dtype))
            self.k_bias = nnx.Param(jnp.zeros(kv, dtype))
            self.v_bias = nnx.Param(jnp.zeros(kv, dtype))
        if c.qk_norm:
            self.q_norm = RMSNorm(c.head_dim, c.norm_epsilon, c.norm_plus_one)
            self.k_norm = RMSNorm(c.head_dim, c.norm_epsilon, c.norm_plus_one)
        add_adapters(self, ("q", "k", "v", "out"), c, rngs)

    def __call__(self, x_NxD, turn: Rotation, past: tuple | None, mask_BxQxA):
        """Attends to A = C + Q tokens, the past first; N = B·Q. `past`: this layer's keys and
        values `[B, C, H, E]`; `turn`: its rotary angles.
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
        return product(out, self, "out"), (k, v)


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
        add_adapters(self, ("gate", "up", "down"), c, rngs)

    def __call__(self, x, turn: Rotation, past, mask_BxQxA):
        y = self.attention_norm(x)
        y, kv = self.attention(y, turn, past, mask_BxQxA)
        x = x + (self.post_attention_norm(y) if self.config.post_norms else y)
        y = self.mlp_norm(x)
        activation = {"gelu": nnx.gelu, "silu": nnx.silu}[self.config.activation]
        y = product(activation(product(y, self, "gate")) * product(y, self, "up"), self, "down")
        return x + (self.post_mlp_norm(y) if self.config.post_norms else y), kv


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
            setattr(self, f"{name}_weight", nnx.Param(jnp.zeros(c.width)))
            setattr(self, f"{name}_bias", nnx.Param(jnp.zeros(())))

    def hidden(self, token_BxQ, position_BxQ, mask_BxQxQ, past: Past | None, rows: Sharding | None):
        c = self.config
        in_place = lambda x: jax.lax.with_sharding_constraint(x, rows) if rows else x  # noqa: E731
        x = self.embedding[...].astype(c.dtype)[token_BxQ]
        if c.scale_embedding:
            x = x * jnp.asarray(c.width**0.5, c.dtype)
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
            params, past_kv, is_global, turn = inputs
            visible = (
                mask if distance is None else mask & (is_global | (distance < c.sliding_window))
            )
            x, kv = nnx.merge(graph, params)(in_place(x), turn, past_kv, visible)
            return in_place(x), kv

        past_kv = None if past is None else tuple(past.kv)
        turns = jax.vmap(lambda frequency: rotation(position_BxQ, frequency))(rope_frequencies(c))
        # All tokens of all rows in one dimension: products with matrices need no transposed copies.
        by_layer = params, past_kv, jnp.array(c.is_global), turns
        x, kv = jax.lax.scan(layer, x.reshape(-1, c.width), by_layer)
        return self.final_norm(x).reshape(*token_BxQ.shape, c.width), KV(*kv)

    def logits(self, hidden):
        head = self.embedding if self.config.tie_embedding else self.head
        weights = head[...].astype(hidden.dtype)
        return softcap(
            jnp.einsum("...d,vd->...v", hidden, weights, preferred_element_type=jnp.float32),
            self.config.logit_softcap,
        )

    def head_logit(self, hidden, name: str):
        weight, bias = getattr(self, f"{name}_weight"), getattr(self, f"{name}_bias")
        return hidden.astype(jnp.float32) @ weight[...] + bias[...]


class Network:
    """The transformer as pure functions of a parameter tree (nested dicts of arrays).

    heads: names of the scalar heads on the trunk.
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

        rows: where rows lie. Left to itself, XLA cuts the layers' work as their weights are cut,
        and has every device work on the rows of many.

        Returns the normalised last hidden states `[B, Q, D]`, and the new tokens' keys and values
        `[layers, B, Q, H, E]`.
        """
        return self._bind(params).hidden(token_BxQ, position_BxQ, mask_BxQxQ, past, rows)

    def logits(self, params, hidden):
        """Next-token logits `[..., V]`, float32, of hidden states `[..., D]`."""
        return self._bind(params).logits(hidden)

    def value_logit(self, params, hidden):
        """Log-odds `[...]`, float32, that the text up to here ends in a verified solution."""
        return self.head_logit(params, hidden, "value")

    def head_logit(self, params, hidden, name: str):
        """What the scalar head of this name says, `[...]`, float32."""
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
