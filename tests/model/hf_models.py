"""Tiny models of the published families, made by the library transformers with random weights."""

import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import torch  # noqa: E402
import transformers  # noqa: E402

VOCAB = 97
_SHAPE = dict(
    vocab_size=VOCAB,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=256,
    bos_token_id=None,
    eos_token_id=None,
    pad_token_id=None,
    attn_implementation="eager",
)
_SLIDING = dict(num_hidden_layers=3, sliding_window=8)
_GEMMA3 = _SHAPE | dict(
    num_hidden_layers=4,
    head_dim=16,
    sliding_window=8,
    sliding_window_pattern=3,
    query_pre_attn_scalar=20,
    rope_local_base_freq=50.0,
    rope_theta=1000.0,
    rope_scaling={"rope_type": "linear", "factor": 4.0},
)
# The length is so short that of the 8 angles some are kept, some divided, some between.
_LLAMA3_ROPE = dict(
    rope_type="llama3",
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=64,
)
CASES = {
    "gemma": ("Gemma", _SHAPE | dict(head_dim=24, num_key_value_heads=1)),
    "gemma2": (
        "Gemma2",
        _SHAPE
        | _SLIDING
        | dict(
            head_dim=24,
            query_pre_attn_scalar=20,
            attn_logit_softcapping=2.0,
            final_logit_softcapping=3.0,
        ),
    ),
    "gemma3": ("Gemma3", _GEMMA3),
    "gemma3 with images": ("Gemma3 with images", _GEMMA3),
    "llama2": ("Llama", _SHAPE | dict(num_key_value_heads=4)),
    "llama3": (
        "Llama",
        _SHAPE | dict(rope_theta=500.0, rope_scaling=_LLAMA3_ROPE, tie_word_embeddings=True),
    ),
    "llama with linear scaling": (
        "Llama",
        _SHAPE | dict(rope_scaling={"rope_type": "linear", "factor": 2.5}, head_dim=24),
    ),
    "mistral": ("Mistral", _SHAPE | _SLIDING),
    "mistral without window": ("Mistral", _SHAPE | dict(sliding_window=None, head_dim=24)),
    "qwen2": ("Qwen2", _SHAPE | dict(tie_word_embeddings=True, rope_theta=1e6)),
    "qwen2 with window": (
        "Qwen2",
        _SHAPE | _SLIDING | dict(use_sliding_window=True, max_window_layers=1),
    ),
    "qwen3": ("Qwen3", _SHAPE | dict(head_dim=24)),
}


def make(case: str, **changes):
    """The model of a case, with noise in every weight: norms and biases too.

    changes: to the keys of its config.
    """
    kind, shape = CASES[case][0], CASES[case][1] | changes
    torch.manual_seed(len(case))
    if kind == "Gemma3 with images":
        text = transformers.Gemma3TextConfig(**shape)
        vision = dict(
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=28,
            patch_size=14,
        )
        config = transformers.Gemma3Config(
            text_config=text.to_dict(),
            vision_config=vision,
            mm_tokens_per_image=4,
            image_token_index=VOCAB - 1,
            attn_implementation="eager",
        )
        model = transformers.Gemma3ForConditionalGeneration(config)
    else:
        config = getattr(transformers, kind + ("TextConfig" if kind == "Gemma3" else "Config"))
        model = getattr(transformers, kind + "ForCausalLM")(config(**shape))
    for name, weight in model.named_parameters():
        noise = torch.randn_like(weight)
        if "norm" in name:
            weight.data += 0.4 * noise
        elif weight.ndim == 1:
            weight.data += 0.5 * noise
        else:
            weight.data = noise * weight.shape[1] ** -0.5
    model.tie_weights()
    return model.eval()


def load(directory: Path):
    """What transformers makes of a directory."""
    model = transformers.AutoModelForCausalLM.from_pretrained(
        directory, attn_implementation="eager", dtype=torch.float32
    )
    return model.eval()


def logits(model, text):
    """Next-token logits `[T, V]` of one text, without a cache."""
    with torch.no_grad():
        return model(torch.tensor(text)[None].long(), use_cache=False).logits[0].numpy()
