"""The sizes and options of the transformer."""

import dataclasses

from expert_iter.errors import UserError
from expert_iter.range_checks import Checks


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
    """The network's sizes and options.

    Attributes:
      num_layers: 1 or more.
      width: of the stream between layers; 1 or more.
      num_heads: query heads; a multiple of num_kv_heads.
      num_kv_heads: heads of keys and values.
      head_dim: numbers in a head; even.
      mlp_width: numbers inside the MLP.
      activation: 'gelu' or 'silu', of the MLP's gate.
      rope_base: of the rotary positions' angles; positive.
      norm_epsilon: added to the mean square in norms; positive.
      attention_softcap: bound on attention scores, by tanh. 0: none.
      logit_softcap: bound on logits, by tanh. 0: none.
      sliding_window: how many tokens a layer sees. 0: all.
      global_every: each layer of this number sees all tokens whatever the window. 0: none does.
      global_layers: further layers that see all tokens, numbered from 0.
      query_scale: scores are divided by its square root. 0: by that of head_dim.
      rope_scaling: 'none'; 'linear': angles are divided by rope_factor; 'llama3': so are those of
        low frequency, and those of high frequency are not; between them the divisor changes
        gradually.
      rope_factor: see rope_scaling; positive.
      rope_low_frequency: turns in rope_original_length tokens below which a frequency is low.
      rope_high_frequency: turns above which it is high.
      rope_original_length: in tokens.
      local_rope_base: rope_base of layers with a sliding window, never scaled. 0: as the others.
      qkv_bias: queries, keys and values have biases.
      qk_norm: each head's query and key are normalised.
      post_norms: what attention and MLP add is normalised.
      norm_plus_one: norms multiply by 1 + scale, else by scale.
      scale_embedding: embeddings are multiplied by the square root of width.
      tie_embedding: the embedding is the output head, too.
      dtype: of the computation, 'float32' or 'bfloat16'.
      param_dtype: of the parameters, 'float32' or 'bfloat16'; norms, adapters and scalar heads are
        float32 always.
      lora_rank: of the adapter beside each matrix of the layers, which is trained in its place.
        0: no adapters.
      lora_alpha: what an adapter adds is multiplied by lora_alpha / lora_rank.
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
        check = Checks("model", self)
        check.at_least(1, "num_layers", "width", "num_heads", "num_kv_heads", "head_dim")
        check.at_least(1, "mlp_width", "rope_original_length")
        check.not_negative("attention_softcap", "logit_softcap", "sliding_window", "global_every")
        check.not_negative("query_scale", "local_rope_base", "lora_rank")
        check.positive("rope_base", "norm_epsilon", "rope_factor", "rope_low_frequency")
        check.positive("lora_alpha")
        check.one_of("activation", "gelu", "silu")
        check.one_of("rope_scaling", "none", "linear", "llama3")
        check.one_of("dtype", "float32", "bfloat16")
        check.one_of("param_dtype", "float32", "bfloat16")
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

    @property
    def is_global(self) -> tuple[bool, ...]:
        """Whether each layer is exempt from the sliding window."""
        every = self.global_every
        return tuple(
            i in self.global_layers or (every > 0 and (i + 1) % every == 0)
            for i in range(self.num_layers)
        )
