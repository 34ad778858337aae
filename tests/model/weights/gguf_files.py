"""Tiny GGUF files, written with the package gguf as llama.cpp's converter writes them."""

import json

import gguf
import numpy as np
import torch

from tests.model import hf_models

TYPE = gguf.GGMLQuantizationType
# Our families -> llama.cpp's architecture, its case in hf_models, and changes to it: that format
# fixes the pattern of windows, the scale of queries, and Llama 3's scaling.
_LLAMA3_ROPE = dict(
    rope_type="llama3",
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=8192,
)
FAMILIES = {
    "gemma": ("gemma", "gemma", {}),
    "gemma2": ("gemma2", "gemma2", dict(query_pre_attn_scalar=24)),
    "gemma3": (
        "gemma3",
        "gemma3",
        dict(num_hidden_layers=7, sliding_window_pattern=6, query_pre_attn_scalar=16),
    ),
    "llama2": ("llama", "llama2", {}),
    "llama3": ("llama", "llama3", dict(rope_theta=5e5, rope_scaling=_LLAMA3_ROPE)),
    "llama with linear scaling": ("llama", "llama with linear scaling", {}),
    "mistral": ("llama", "mistral without window", {}),
    "qwen2": ("qwen2", "qwen2", {}),
    "qwen3": ("qwen3", "qwen3", {}),
}


def make(family, vocab_size):
    """A model of transformers that this format can say."""
    _, case, changes = FAMILIES[family]
    return hf_models.make(case, vocab_size=vocab_size, **changes)


def write(path, family, model, tokenizer, quantized=TYPE.F32, without=(), **changes):
    """Writes a model of transformers.

    Args:
      tokenizer: metadata, see `byte_pairs`.
      quantized: the type of matrices.
      without: names of tensors to leave out.
      changes: to the metadata, with `__` for a dot. None leaves a key out.
    """
    architecture, c = FAMILIES[family][0], model.config.to_dict()
    head_dim = getattr(model.config, "head_dim", c["hidden_size"] // c["num_attention_heads"])
    rope = c["rope_parameters"]
    rope = rope.get("full_attention", rope)
    linear = rope["rope_type"] == "linear"
    own = {
        "block_count": c["num_hidden_layers"],
        "context_length": c["max_position_embeddings"],
        "embedding_length": c["hidden_size"],
        "feed_forward_length": c["intermediate_size"],
        "attention.head_count": c["num_attention_heads"],
        "attention.head_count_kv": c["num_key_value_heads"],
        "attention.key_length": head_dim,
        "attention.layer_norm_rms_epsilon": c["rms_norm_eps"],
        "attention.sliding_window": c.get("sliding_window"),
        "attn_logit_softcapping": c.get("attn_logit_softcapping"),
        "final_logit_softcapping": c.get("final_logit_softcapping"),
        "rope.freq_base": rope["rope_theta"],
        "rope.freq_base_swa": c["rope_parameters"].get("sliding_attention", {}).get("rope_theta"),
        "rope.scaling.type": "linear" if linear else None,
        "rope.scaling.factor": rope["factor"] if linear else None,
    }
    metadata = {f"{architecture}.{key}": value for key, value in own.items()} | tokenizer
    metadata |= {key.replace("__", "."): value for key, value in changes.items()}
    writer = gguf.GGUFWriter(path, metadata.pop("general.architecture", architecture))
    for key, value in metadata.items():
        if value is not None:
            _add(writer, key, value)
    names = gguf.get_tensor_name_map(_number(architecture), c["num_hidden_layers"])
    if rope["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", _divisors(rope, head_dim))
    tied = {"lm_head.weight"} if c["tie_word_embeddings"] else set()
    for their, tensor in model.state_dict().items():
        name, array = names.get_name(their, (".weight", ".bias")), tensor.numpy()
        if their in tied or name in without:
            continue
        if architecture == "llama" and (".q_proj." in their or ".k_proj." in their):
            heads = "num_attention_heads" if ".q_proj." in their else "num_key_value_heads"
            array = _pairs(array, c[heads])
        if architecture.startswith("gemma") and their.endswith("norm.weight"):
            array = array + 1
        kind = quantized if array.ndim == 2 else TYPE.F32
        writer.add_tensor(name, gguf.quantize(array, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def byte_pairs(folder, pre, **more):
    """The metadata of the `tokenizer.json` in a folder."""
    content = json.loads((folder / "tokenizer.json").read_text())
    ids = dict(content["model"]["vocab"])
    added = {token["content"]: token for token in content["added_tokens"]}
    ids |= {text: token["id"] for text, token in added.items()}
    tokens = sorted(ids, key=ids.get)
    special = {text: 3 if token["special"] else 4 for text, token in added.items()}
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [special.get(token, 1) for token in tokens],
        "tokenizer.ggml.merges": [" ".join(merge) for merge in content["model"]["merges"]],
        **{
            f"tokenizer.ggml.{key}_token_id": tokens.index(text)
            for key, text in more.items()
            if text in tokens
        },
    }


def _number(architecture):
    return {name: number for number, name in gguf.MODEL_ARCH_NAMES.items()}[architecture]


def _add(writer, key, value):
    if isinstance(value, list):
        writer.add_array(key, value)
    else:
        kinds = {str: "string", bool: "bool", int: "uint32", float: "float32"}
        getattr(writer, f"add_{kinds[type(value)]}")(key, value)


def _pairs(array, heads):
    """Rows so that the two that rotary positions turn together stand side by side."""
    half = array.shape[0] // heads // 2
    order = [
        head * 2 * half + i + j * half for head in range(heads) for i in range(half) for j in (0, 1)
    ]
    return array[order]


def _divisors(rope, head_dim):
    """By how much each frequency is divided, as transformers has it."""
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    class Config:
        rope_parameters = rope
        hidden_size, num_attention_heads = head_dim, 1

        def standardize_rope_params(self):
            pass

    Config.head_dim = head_dim
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](Config(), torch.device("cpu"))
    plain = rope["rope_theta"] ** (-np.arange(0, head_dim, 2) / head_dim)
    return (plain / scaled.numpy()).astype(np.float32)
