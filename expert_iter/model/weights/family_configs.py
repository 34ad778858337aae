"""Between a family's `config.json` and our TransformerConfig, both ways.

Read are the keys of transformers 4 (`rope_theta`, `rope_scaling`) and 5 (`rope_parameters`);
written those of 4, which both read.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from expert_iter.errors import UserError
from expert_iter.model.transformer_config import TransformerConfig
from expert_iter.model.weights.families import FAMILIES, Family

# What we cannot compute, and the values that ask for nothing.
_REFUSED = {
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "use_bidirectional_attention": (False,),
    "partial_rotary_factor": (1,),
    "quantization_config": (),
}
_ACTIVATIONS = {"silu": "silu", "gelu": "gelu_pytorch_tanh"}  # ours -> theirs
_LLAMA3 = {
    "rope_factor": "factor",
    "rope_low_frequency": "low_freq_factor",
    "rope_high_frequency": "high_freq_factor",
    "rope_original_length": "original_max_position_embeddings",
}
_OPTIONAL = ("num_kv_heads", "head_dim", "logit_softcap", "attention_softcap")
_SLIDING, _FULL = "sliding_attention", "full_attention"


def text_part(their: Mapping[str, Any]) -> Mapping[str, Any]:
    """The language model's settings in a Gemma 3 for text and images; else `their` itself."""
    if their.get("model_type") != "gemma3":
        return their
    text = _object(their, "text_config")
    whole = ("quantization_config", "tie_word_embeddings")
    return text | {key: their[key] for key in whole if key in their} | {"model_type": "gemma3_text"}


def family_of(their: Mapping[str, Any]) -> Family:
    """Raises UserError where the architecture is none of ours."""
    name = their.get("model_type")
    if not isinstance(name, str) or name not in FAMILIES:
        known = ", ".join((*FAMILIES, "gemma3"))
        raise UserError(f"model_type {name!r} is not supported; there are {known}")
    return FAMILIES[name]


def vocab_size_of(their: Mapping[str, Any]) -> int:
    return _number({**family_of(their).defaults, **their}, "vocab_size", int)


def to_ours(their: Mapping[str, Any], dtype: str, param_dtype: str) -> TransformerConfig:
    """The settings in `their`, which `text_part` gave. Raises UserError that names the key that is
    missing, damaged or asks for what we do not have.
    """
    family = family_of(their)
    their = {**family.defaults, **their}
    refused = {} if "attention_softcap" in family.values else {"attn_logit_softcapping": ()}
    for key, harmless in (_REFUSED | refused).items():
        if their.get(key) is not None and their[key] not in harmless:
            raise UserError(f"{key}={their[key]!r} is not supported for {family.name}")
    _check_activation(family, their)
    ours = dict(family.always)
    for key, name in family.values.items():
        if their.get(name) is not None or key not in _OPTIONAL:
            ours[key] = _number(their, name, type(getattr(TransformerConfig, key)))
    ours.setdefault("num_kv_heads", ours["num_heads"])
    ours.setdefault("head_dim", ours["width"] // max(1, ours["num_heads"]))
    tied = their["tie_word_embeddings"]
    if not isinstance(tied, bool):
        raise UserError(f"tie_word_embeddings must be true or false, got {tied!r}")
    ours |= _rope(family, their) | _sliding(family, their, ours["num_layers"])
    if not ours["sliding_window"]:
        ours.pop("local_rope_base", None)
    return TransformerConfig(**ours, tie_embedding=tied, dtype=dtype, param_dtype=param_dtype)


def to_theirs(
    family: Family, config: TransformerConfig, vocab_size: int, extra: Mapping[str, Any]
) -> dict[str, Any]:
    """The `config.json` of a model of this family; `extra` adds keys to it. Raises UserError naming
    an option that the family does not have.
    """
    c = config
    if lost := lacks(family, c):
        key = "global_every" if lost[0] == "global_layers" and c.global_every else lost[0]
        raise UserError(f"{family.name} has no counterpart of model.{key}={getattr(c, key)!r}")
    if family.whole_heads and c.width % c.num_heads:
        raise UserError(
            f"{family.name} wants model.width ({c.width}) to be a multiple of model.num_heads "
            f"({c.num_heads})"
        )
    return {
        **extra,
        **_their_network(family, c),
        "architectures": [family.architecture],
        "vocab_size": vocab_size,
        "torch_dtype": c.param_dtype,
    }


def lacks(family: Family, config: TransformerConfig) -> list[str]:
    """Our keys whose values no model of this family has."""
    return differences(config, to_ours(_their_network(family, config), "float32", "float32"))


def differences(one: TransformerConfig, other: TransformerConfig) -> list[str]:
    """The keys in which two configs say different things about the network: not dtypes, and not
    two ways to write the same.
    """
    one, other = dataclasses.asdict(_canonical(one)), dataclasses.asdict(_canonical(other))
    return [key for key in one if one[key] != other[key]]


def _canonical(c: TransformerConfig) -> TransformerConfig:
    slides = c.sliding_window > 0 and not all(c.is_global)
    same_base = c.rope_scaling == "none" and c.local_rope_base == c.rope_base
    unused = _LLAMA3.keys() - _figures(c.rope_scaling).keys()
    return dataclasses.replace(
        c,
        sliding_window=c.sliding_window if slides else 0,
        global_every=0,
        global_layers=tuple(i for i, sees in enumerate(c.is_global) if sees and slides),
        local_rope_base=c.local_rope_base if slides and not same_base else 0.0,
        query_scale=c.query_scale or float(c.head_dim),
        lora_alpha=c.lora_alpha if c.lora_rank else TransformerConfig.lora_alpha,
        **{key: getattr(TransformerConfig, key) for key in unused},
        dtype="float32",
        param_dtype="float32",
    )


def _check_activation(family: Family, their: Mapping[str, Any]) -> None:
    given = their.get("hidden_activation") or their.get("hidden_act")
    wanted = _ACTIVATIONS[family.always["activation"]]
    # The first Gemma's files say gelu and mean its approximation by tanh.
    if given not in (None, wanted) and (family.name, given) != ("gemma", "gelu"):
        raise UserError(f"hidden_act={given!r} is not supported for {family.name}")


def _sliding(family: Family, their: Mapping[str, Any], layers: int) -> dict[str, Any]:
    """sliding_window and global_layers."""
    window = their.get("sliding_window")
    if family.slides == "none" or window is None or not their.get("use_sliding_window", True):
        window = 0
    else:
        window = _number(their, "sliding_window", int)
    if family.slides != "layer_types":
        return {"sliding_window": window}
    types = their.get("layer_types")
    if types is not None:
        if not isinstance(types, list) or len(types) != layers:
            raise UserError(f"layer_types must list a type for each of the {layers} layers")
        if unknown := [kind for kind in types if kind not in (_SLIDING, _FULL)]:
            raise UserError(f"layer_types: {unknown[0]!r} is not supported")
        slides = [kind == _SLIDING for kind in types]
    elif "sliding_window_pattern" in their:
        pattern = max(1, _number(their, "sliding_window_pattern", int))
        slides = [bool((i + 1) % pattern) for i in range(layers)]
    else:
        first = _number(their, "max_window_layers", int)
        slides = [window > 0 and i >= first for i in range(layers)]
    if any(slides) and not window:
        raise UserError("layers slide by layer_types, but there is no sliding_window")
    if not any(slides):
        return {"sliding_window": 0}
    return {
        "sliding_window": window,
        "global_layers": tuple(i for i, slide in enumerate(slides) if not slide),
    }


def _their_network(family: Family, c: TransformerConfig) -> dict[str, Any]:
    """As much of the network as this family's keys can say."""
    activation = _ACTIVATIONS[family.always["activation"]]
    their = {
        "model_type": family.name,
        "hidden_act": activation,
        "tie_word_embeddings": c.tie_embedding,
        "rope_theta": c.rope_base,
        "rope_scaling": _their_scaling(c),
        **{name: getattr(c, key) or None for key, name in family.values.items()},
    }
    if family.always["activation"] == "gelu":
        their["hidden_activation"] = activation
    if "query_scale" in family.values:  # a whole number there
        their["query_pre_attn_scalar"] = int(c.query_scale or c.head_dim)
    if "rope_local_base_freq" in family.defaults:
        their["rope_local_base_freq"] = c.local_rope_base or c.rope_base
    return their | _their_sliding(family, c)


def _their_sliding(family: Family, c: TransformerConfig) -> dict[str, Any]:
    if family.slides == "none":
        return {}
    slides = [c.sliding_window > 0 and not sees_all for sees_all in c.is_global]
    their: dict[str, Any] = {"sliding_window": c.sliding_window or None}
    if family.slides == "layer_types":
        their["layer_types"] = [_SLIDING if slide else _FULL for slide in slides]
    if "use_sliding_window" in family.defaults:
        first = slides.index(True) if any(slides) else c.num_layers
        their |= {"use_sliding_window": any(slides), "max_window_layers": first}
    return their


def _rope(family: Family, their: Mapping[str, Any]) -> dict[str, Any]:
    """rope_base, rope_scaling and its figures, local_rope_base."""
    full = {"rope_theta": their["rope_theta"], **_object(their, "rope_scaling")}
    nested, ours = _object(their, "rope_parameters"), {}
    if "rope_local_base_freq" in family.defaults:
        local = {"rope_theta": their["rope_local_base_freq"], **_object(nested, _SLIDING)}
        if _rope_type(local) != "default":
            raise UserError(f"rope scaling {_rope_type(local)!r} of sliding layers is unsupported")
        ours["local_rope_base"] = _number(local, "rope_theta", float)
        nested = _object(nested, _FULL)
    full |= nested
    if full.get("partial_rotary_factor") not in (None, 1):
        raise UserError("partial_rotary_factor is not supported")
    ours["rope_base"] = _number(full, "rope_theta", float)
    kind = _rope_type(full)
    if kind == "default":
        return ours
    if kind not in ("linear", "llama3"):
        raise UserError(f"rope scaling {kind!r} is not supported; there are linear, llama3")
    if (length := "original_max_position_embeddings") not in full:
        full[length] = their.get("max_position_embeddings")
    for key, name in _figures(kind).items():
        ours[key] = _number(full, name, type(getattr(TransformerConfig, key)))
    return ours | {"rope_scaling": kind}


def _rope_type(rope: Mapping[str, Any]) -> Any:
    return rope.get("rope_type") or rope.get("type") or "default"


def _their_scaling(c: TransformerConfig) -> dict[str, Any] | None:
    if c.rope_scaling == "none":
        return None
    figures = _figures(c.rope_scaling)
    return {"rope_type": c.rope_scaling} | {name: getattr(c, key) for key, name in figures.items()}


def _figures(rope_scaling: str) -> dict[str, str]:
    """Our key -> theirs, of those that this kind of scaling uses."""
    return {"llama3": _LLAMA3, "linear": {"rope_factor": "factor"}, "none": {}}[rope_scaling]


def _object(their: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = their.get(key)
    if value is not None and not isinstance(value, dict):
        raise UserError(f"{key} must be an object, got {value!r}")
    return dict(value or {})


def _number(their: Mapping[str, Any], key: str, kind: type) -> Any:
    value = their.get(key)
    if value is None:
        raise UserError(f"{key} is missing")
    if type(value) is int and kind is float:
        return float(value)
    if type(value) is not kind:
        what = "a whole number" if kind is int else "a number"
        raise UserError(f"{key} must be {what}, got {value!r}")
    return value
