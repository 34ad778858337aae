"""The published families of models: what each calls our parameters and our settings.

A checkpoint in the Hugging Face layout names its settings in `config.json` and its tensors in
`*.safetensors`. Names and meanings are those of the library transformers, which the tests compare
with. All families keep a linear map's weight as `[out, in]`, we as `[in, out]`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple


class Tensor(NamedTuple):
    """A tensor of a checkpoint; `{}` in its name is the layer."""

    name: str
    transposed: bool = False

    def of_layer(self, layer: int) -> str:
        return self.name.format(layer)


_LAYER = "model.layers.{}."
_ATTENTION, _MLP = _LAYER + "self_attn.", _LAYER + "mlp."

# Ours -> theirs. Which of these a model has, its config says.
LLAMA_TENSORS = {
    "embedding": Tensor("model.embed_tokens.weight"),
    "blocks.attention_norm.scale": Tensor(_LAYER + "input_layernorm.weight"),
    "blocks.attention.q": Tensor(_ATTENTION + "q_proj.weight", transposed=True),
    "blocks.attention.k": Tensor(_ATTENTION + "k_proj.weight", transposed=True),
    "blocks.attention.v": Tensor(_ATTENTION + "v_proj.weight", transposed=True),
    "blocks.attention.out": Tensor(_ATTENTION + "o_proj.weight", transposed=True),
    "blocks.mlp_norm.scale": Tensor(_LAYER + "post_attention_layernorm.weight"),
    "blocks.gate": Tensor(_MLP + "gate_proj.weight", transposed=True),
    "blocks.up": Tensor(_MLP + "up_proj.weight", transposed=True),
    "blocks.down": Tensor(_MLP + "down_proj.weight", transposed=True),
    "final_norm.scale": Tensor("model.norm.weight"),
    "head": Tensor("lm_head.weight"),
}
QWEN2_TENSORS = LLAMA_TENSORS | {
    "blocks.attention.q_bias": Tensor(_ATTENTION + "q_proj.bias"),
    "blocks.attention.k_bias": Tensor(_ATTENTION + "k_proj.bias"),
    "blocks.attention.v_bias": Tensor(_ATTENTION + "v_proj.bias"),
}
_HEAD_NORMS = {
    "blocks.attention.q_norm.scale": Tensor(_ATTENTION + "q_norm.weight"),
    "blocks.attention.k_norm.scale": Tensor(_ATTENTION + "k_norm.weight"),
}
QWEN3_TENSORS = LLAMA_TENSORS | _HEAD_NORMS
GEMMA2_TENSORS = LLAMA_TENSORS | {
    "blocks.post_attention_norm.scale": Tensor(_LAYER + "post_attention_layernorm.weight"),
    "blocks.mlp_norm.scale": Tensor(_LAYER + "pre_feedforward_layernorm.weight"),
    "blocks.post_mlp_norm.scale": Tensor(_LAYER + "post_feedforward_layernorm.weight"),
}
GEMMA3_TENSORS = GEMMA2_TENSORS | _HEAD_NORMS

# Ours -> theirs, where the value is the same; null is 0.
_SIZES = {
    "num_layers": "num_hidden_layers",
    "width": "hidden_size",
    "num_heads": "num_attention_heads",
    "num_kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "mlp_width": "intermediate_size",
    "norm_epsilon": "rms_norm_eps",
}
_QUERY = {"query_scale": "query_pre_attn_scalar"}
_LOGIT_CAP = {"logit_softcap": "final_logit_softcapping"}
_ATTENTION_CAP = {"attention_softcap": "attn_logit_softcapping"}


@dataclasses.dataclass(frozen=True)
class Family:
    """name: `model_type` in config.json; architecture: its class in transformers; always: our
    options that all its models share; values: our key -> theirs; defaults: theirs, for keys that
    files leave out; slides: which layers do ('none', 'all', or by 'layer_types'); whole_heads:
    whether transformers wants the width to be a multiple of the number of heads.
    """

    name: str
    architecture: str
    tensors: Mapping[str, Tensor]
    always: Mapping[str, Any]
    values: Mapping[str, str]
    defaults: Mapping[str, Any]
    slides: str = "none"
    whole_heads: bool = False


_GEMMA = {"activation": "gelu", "norm_plus_one": True, "scale_embedding": True}
_LLAMA = {"activation": "silu", "norm_plus_one": False, "scale_embedding": False}
_COMMON = {"rms_norm_eps": 1e-6, "rope_theta": 10_000.0, "tie_word_embeddings": False}
_QWEN = _COMMON | {"use_sliding_window": False, "sliding_window": 4096, "max_window_layers": 28}
_TIED = _COMMON | {"tie_word_embeddings": True, "head_dim": 256}
_GEMMA3 = _TIED | {  # published files for text and images leave out most of these
    "vocab_size": 262_208,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "sliding_window_pattern": 6,
    "rope_theta": 1_000_000.0,
    "rope_local_base_freq": 10_000.0,
}
_FAMILIES = (
    Family("gemma", "GemmaForCausalLM", LLAMA_TENSORS, _GEMMA, _SIZES, _TIED),
    Family(
        "gemma2",
        "Gemma2ForCausalLM",
        GEMMA2_TENSORS,
        _GEMMA | {"post_norms": True},
        _SIZES | _QUERY | _LOGIT_CAP | _ATTENTION_CAP,
        _TIED
        | {
            "query_pre_attn_scalar": 256,
            "sliding_window": 4096,
            "sliding_window_pattern": 2,
            "final_logit_softcapping": 30.0,
            "attn_logit_softcapping": 50.0,
        },
        slides="layer_types",
        whole_heads=True,
    ),
    Family(
        "gemma3_text",
        "Gemma3ForCausalLM",
        GEMMA3_TENSORS,
        _GEMMA | {"post_norms": True, "qk_norm": True},
        _SIZES | _QUERY | _LOGIT_CAP,
        _GEMMA3,
        slides="layer_types",
        whole_heads=True,
    ),
    Family("llama", "LlamaForCausalLM", LLAMA_TENSORS, _LLAMA, _SIZES, _COMMON, whole_heads=True),
    Family(
        "mistral",
        "MistralForCausalLM",
        LLAMA_TENSORS,
        _LLAMA,
        _SIZES,
        _COMMON | {"sliding_window": 4096},
        slides="all",
    ),
    Family(
        "qwen2",
        "Qwen2ForCausalLM",
        QWEN2_TENSORS,
        _LLAMA | {"qkv_bias": True},
        _SIZES,
        _QWEN,
        slides="layer_types",
    ),
    Family(
        "qwen3",
        "Qwen3ForCausalLM",
        QWEN3_TENSORS,
        _LLAMA | {"qk_norm": True},
        _SIZES,
        _QWEN | {"head_dim": 128},
        slides="layer_types",
    ),
)
FAMILIES = {family.name: family for family in _FAMILIES}
