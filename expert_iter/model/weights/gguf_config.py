"""The network that a GGUF file's metadata describe."""

from typing import Any

import numpy as np

from expert_iter.errors import UserError
from expert_iter.model.transformer_config import TransformerConfig
from expert_iter.model.weights.families import FAMILIES, Family
from expert_iter.model.weights.gguf_file import GgufFile

EMBEDDING, HEAD, ROPE_FACTORS = "token_embd.weight", "output.weight", "rope_freqs.weight"
# llama.cpp's architectures -> `model_type`. (Mistral 7B and Nemo are `llama` there.)
ARCHITECTURES = {
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma": "gemma",
    "gemma2": "gemma2",
    "gemma3": "gemma3_text",
}
_SIZES = {
    "num_layers": "block_count",
    "width": "embedding_length",
    "num_heads": "attention.head_count",
    "mlp_width": "feed_forward_length",
}
# What we cannot compute, and the value that asks for nothing.
_REFUSED = {
    "expert_count": 0,
    "logit_scale": 1.0,
    "embedding_scale": 1.0,
    "residual_scale": 1.0,
    "attention.scale": 0.0,
}
# Every n-th layer sees all tokens; files seldom say it.
_PATTERN = {"gemma2": 2, "gemma3": 6}
# Models whose attention is scaled by width / heads instead of head_dim: the 27B ones, which
# llama.cpp tells by their number of layers, too.
_SCALED_BY_WIDTH = {("gemma2", 46), ("gemma3", 62)}
# All published Llama 3.1 to 3.3 have these. Files hold only what they amount to.
_LLAMA3 = {"rope_low_frequency": 1.0, "rope_high_frequency": 4.0, "rope_original_length": 8192}


def family_of(file: GgufFile) -> Family:
    """Raises UserError where the architecture is none of ours."""
    if file.architecture not in ARCHITECTURES:
        raise UserError(
            f"{file.path}: the architecture {file.architecture!r} is not supported; there are "
            f"{', '.join(ARCHITECTURES)}"
        )
    return FAMILIES[ARCHITECTURES[file.architecture]]


def transformer_config(file: GgufFile, param_dtype: str) -> TransformerConfig:
    """Raises UserError that names the key that is missing, or asks for what we do not have."""
    family = family_of(file)
    for key, harmless in _REFUSED.items():
        if (given := file.own(key, type(harmless), harmless)) != harmless:
            raise UserError(f"{file.path}: {file.architecture}.{key}={given} is not supported")
    ours: dict[str, Any] = {key: file.own(name, int) for key, name in _SIZES.items()}
    ours["num_kv_heads"] = file.own("attention.head_count_kv", int, ours["num_heads"])
    head_dim = ours["width"] // max(1, ours["num_heads"])
    ours["head_dim"] = head_dim = file.own("attention.key_length", int, head_dim)
    turned = file.own("rope.dimension_count", int, head_dim)
    if turned != head_dim:
        raise UserError(f"{file.path}: rotary positions of {turned} of {head_dim} are unsupported")
    ours["norm_epsilon"] = file.own("attention.layer_norm_rms_epsilon", float)
    if "logit_softcap" in family.values:
        ours["logit_softcap"] = file.own("final_logit_softcapping", float, 0.0)
    if "attention_softcap" in family.values:
        ours["attention_softcap"] = file.own("attn_logit_softcapping", float, 0.0)
    if (file.architecture, ours["num_layers"]) in _SCALED_BY_WIDTH:
        ours["query_scale"] = float(ours["width"] // ours["num_heads"])
    if file.architecture in _PATTERN:
        ours |= _sliding(file, ours["num_layers"])
    return TransformerConfig(
        **dict(family.always) | ours | _rope(file, head_dim),
        tie_embedding=HEAD not in file.shapes,
        param_dtype=param_dtype,
    )


def _sliding(file: GgufFile, layers: int) -> dict[str, Any]:
    """sliding_window, global_layers, local_rope_base."""
    sliding = {"sliding_window": file.own("attention.sliding_window", int, 4096)}
    every = _PATTERN[file.architecture]
    sliding["global_layers"] = tuple(i for i in range(layers) if not (i + 1) % every)
    if file.architecture == "gemma3":
        sliding["local_rope_base"] = file.own("rope.freq_base_swa", float, 10_000.0)
    return sliding


def _rope(file: GgufFile, head_dim: int) -> dict[str, Any]:
    """rope_base, rope_scaling and its figures."""
    base = file.own("rope.freq_base", float, 10_000.0)
    kind = file.own("rope.scaling.type", str, "none")
    if kind not in ("none", "linear"):
        raise UserError(f"{file.path}: rope scaling {kind!r} is unsupported; there is linear")
    if ROPE_FACTORS in file.shapes:
        return {"rope_base": base} | _llama3(file, base, head_dim)
    if kind == "linear":
        factor = file.own("rope.scaling.factor", float)
        return {"rope_base": base, "rope_scaling": kind, "rope_factor": factor}
    return {"rope_base": base}


def _llama3(file: GgufFile, base: float, head_dim: int) -> dict[str, Any]:
    """The figures of a scaling of which the file holds the divisor of each frequency."""
    divisor = file.tensor(ROPE_FACTORS)
    factor = float(divisor.max())
    low, high, length = _LLAMA3.values()
    frequency = base ** (-np.arange(0, head_dim, 2) / head_dim)
    keep = np.clip((length * frequency / (2 * np.pi) - low) / (high - low), 0, 1)
    expected = 1 / ((1 - keep) / factor + keep)
    if divisor.shape != expected.shape or not np.allclose(divisor, expected, rtol=1e-3):
        raise UserError(
            f"{file.path}: {ROPE_FACTORS} is not the scaling of Llama 3.1, which alone is supported"
        )
    return {"rope_scaling": "llama3", "rope_factor": factor, **_LLAMA3}
