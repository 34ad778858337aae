"""The published families of models: the names of our settings in each one's `config.json`.

Names and meanings are those of the library transformers, which the tests compare with. What the
files of a family call our parameters is in `model.parameters`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

# Names of our settings in config.json, where the value is the same; null is 0.
_SIZES = {
    "num_layers": "num_hidden_layers",
    "width": "hidden_size",
    "num_heads": "num_attention_heads",
    "num_kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "mlp_width": "intermediate_size",
    "norm_epsilon": "rms_norm_eps",
}
_GEMMA3_VALUES = _SIZES | {
    "query_scale": "query_pre_attn_scalar",
    "logit_softcap": "final_logit_softcapping",
}
_GEMMA2_VALUES = _GEMMA3_VALUES | {"attention_softcap": "attn_logit_softcapping"}


@dataclasses.dataclass(frozen=True)
class Family:
    """A family of published models.

    Attributes:
      name: `model_type` in config.json.
      architecture: its class in transformers.
      always: our options that all its models share.
      values: names of our settings in config.json.
      defaults: values of keys of config.json that files leave out.
      slides: which layers have a sliding window: 'none', 'all', or by 'layer_types'.
      whole_heads: whether transformers wants the width to be a multiple of the number of heads.
    """

    name: str
    architecture: str
    always: Mapping[str, Any]
    values: Mapping[str, str]
    defaults: Mapping[str, Any]
    slides: str = "none"
    whole_heads: bool = False


# Our options that all models of a family share.
_GEMMA = {"activation": "gelu", "norm_plus_one": True, "scale_embedding": True}
_GEMMA2 = _GEMMA | {"post_norms": True}
_GEMMA3 = _GEMMA2 | {"qk_norm": True}
_LLAMA = {"activation": "silu", "norm_plus_one": False, "scale_embedding": False}
_QWEN2 = _LLAMA | {"qkv_bias": True}
_QWEN3 = _LLAMA | {"qk_norm": True}

# Values of keys of config.json that files leave out.
_COMMON = {"rms_norm_eps": 1e-6, "rope_theta": 10_000.0, "tie_word_embeddings": False}
_SLIDES = _COMMON | {"sliding_window": 4096}
_QWEN_KEYS = _SLIDES | {"use_sliding_window": False, "max_window_layers": 28}
_QWEN3_KEYS = _QWEN_KEYS | {"head_dim": 128}
_TIED = _COMMON | {"tie_word_embeddings": True, "head_dim": 256}
_GEMMA2_KEYS = _TIED | {
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "sliding_window_pattern": 2,
    "final_logit_softcapping": 30.0,
    "attn_logit_softcapping": 50.0,
}
_GEMMA3_KEYS = _TIED | {  # published files for text and images leave out most of these
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
    Family("gemma", "GemmaForCausalLM", _GEMMA, _SIZES, _TIED),
    Family(
        "gemma2",
        "Gemma2ForCausalLM",
        _GEMMA2,
        _GEMMA2_VALUES,
        _GEMMA2_KEYS,
        slides="layer_types",
        whole_heads=True,
    ),
    Family(
        "gemma3_text",
        "Gemma3ForCausalLM",
        _GEMMA3,
        _GEMMA3_VALUES,
        _GEMMA3_KEYS,
        slides="layer_types",
        whole_heads=True,
    ),
    Family("llama", "LlamaForCausalLM", _LLAMA, _SIZES, _COMMON, whole_heads=True),
    Family("mistral", "MistralForCausalLM", _LLAMA, _SIZES, _SLIDES, slides="all"),
    Family("qwen2", "Qwen2ForCausalLM", _QWEN2, _SIZES, _QWEN_KEYS, slides="layer_types"),
    Family("qwen3", "Qwen3ForCausalLM", _QWEN3, _SIZES, _QWEN3_KEYS, slides="layer_types"),
)
FAMILIES = {family.name: family for family in _FAMILIES}
