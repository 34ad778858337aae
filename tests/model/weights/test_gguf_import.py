"""GGUF files as Hugging Face directories: transformers and we compute the same with them."""

import json

import numpy as np
import pytest
import safetensors.numpy

from expert_iter.errors import UserError
from expert_iter.model.transformer import Network
from expert_iter.model.weights import pretrained
from tests.model import hf_models
from tests.model.tokenizers.test_bpe import write_checkpoint
from tests.model.weights.test_export import logits

gguf = pytest.importorskip("gguf")

from expert_iter.model.weights.gguf_import import import_gguf  # noqa: E402
from tests.model.weights import gguf_files  # noqa: E402
from tests.model.weights.gguf_files import FAMILIES, TYPE  # noqa: E402


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """Metadata of a tiny tokenizer."""
    folder = tmp_path_factory.mktemp("tokenizer")
    write_checkpoint(folder, "llama")
    return gguf_files.byte_pairs(folder, "llama-bpe", bos="<|begin_of_text|>", eos="<|eot_id|>")


def size(tokenizer):
    return len(tokenizer["tokenizer.ggml.tokens"])


def imported(path, out, dtype="float32"):
    import_gguf(path, out, dtype)
    return safetensors.numpy.load_file(out / "model.safetensors")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_computes_the_same(family, tokenizer, tmp_path):
    model = gguf_files.make(family, size(tokenizer))
    path = gguf_files.write(tmp_path / "model.gguf", family, model, tokenizer)
    made = imported(path, tmp_path / "out")
    theirs = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        theirs.pop("lm_head.weight")
    assert made.keys() == theirs.keys()
    for name, array in theirs.items():
        shifted = family.startswith("gemma") and name.endswith("norm.weight")
        np.testing.assert_allclose(made[name], array, rtol=0, atol=1e-6 * shifted)
    text = np.arange(3, 43) * 7 % size(tokenizer)  # longer than windows
    expected = hf_models.logits(model, text)
    np.testing.assert_allclose(
        hf_models.logits(hf_models.load(tmp_path / "out"), text), expected, atol=1e-4
    )
    network = Network(pretrained.transformer_config(tmp_path / "out", "float32"), size(tokenizer))
    params = pretrained.load_params(tmp_path / "out", network)
    np.testing.assert_allclose(logits(network, params, text), expected, atol=2e-4)


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"])
def test_quantised_weights_are_what_the_package_dequantises(kind, tokenizer, tmp_path):
    model = gguf_files.make("qwen2", size(tokenizer))
    path = gguf_files.write(tmp_path / "model.gguf", "qwen2", model, tokenizer, TYPE[kind])
    made = imported(path, tmp_path / "out")
    for name, tensor in model.state_dict().items():
        array = tensor.numpy()
        if array.ndim == 2:
            array = gguf.dequantize(gguf.quantize(array, TYPE[kind]), TYPE[kind])
        if name != "lm_head.weight":
            np.testing.assert_array_equal(made[name], array)


def test_bfloat16_takes_half_of_the_space(tokenizer, tmp_path):
    model = gguf_files.make("qwen3", size(tokenizer))
    path = gguf_files.write(tmp_path / "model.gguf", "qwen3", model, tokenizer)
    made = imported(path, tmp_path / "out", "bfloat16")
    assert {str(array.dtype) for array in made.values()} == {"bfloat16"}
    assert json.loads((tmp_path / "out" / "config.json").read_text())["torch_dtype"] == "bfloat16"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"general__architecture": "phi3"}, "'phi3' is not supported; there are llama, qwen2, "),
        ({"tokenizer__ggml__pre": "olmo"}, "the pre-tokenizer 'olmo' .*; there are gpt-2, smollm,"),
        ({"tokenizer__ggml__model": "bert"}, "'bert' is not supported; there are gpt2 .*, llama"),
        ({"tokenizer__ggml__pre": None}, "the pre-tokenizer '' "),
        ({"tokenizer__ggml__eos_token_id": 10**6}, "the token 1000000 is none of its"),
        ({"llama__block_count": None}, "does not say llama.block_count"),
        ({"llama__block_count": 3}, r"blk.2.attn_k.weight is missing; .*; and 5 more$"),
        ({"llama__block_count": "2"}, "llama.block_count must be of type int, got '2'"),
        ({"llama__embedding_length": 128}, r"token_embd.weight has the shape \[\d+, 64\], not"),
        ({"llama__expert_count": 8}, "llama.expert_count=8 is not supported"),
        ({"llama__rope__scaling__type": "yarn"}, "rope scaling 'yarn' is unsupported"),
        ({"llama__rope__dimension_count": 8}, "rotary positions of 8 of 16 are unsupported"),
        ({"llama__rope__freq_base": 1e4}, "is not the scaling of Llama 3.1"),
        ({"split__count": 2}, "one of several parts"),
        ({"without": ("blk.1.ffn_up.weight",)}, "do not fit: blk.1.ffn_up.weight is missing$"),
        ({"without": ("token_embd.weight",)}, "token_embd.weight is missing"),
    ],
)
def test_what_is_unknown_is_one_line_and_nothing_is_written(changes, message, tokenizer, tmp_path):
    model = gguf_files.make("llama3", size(tokenizer))
    path = gguf_files.write(tmp_path / "model.gguf", "llama3", model, tokenizer, **changes)
    with pytest.raises(UserError, match=message):
        import_gguf(path, tmp_path / "out", "float32")
    assert [file.name for file in tmp_path.iterdir()] == ["model.gguf"]


def test_a_full_directory_is_kept(tokenizer, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("kept")
    model = gguf_files.make("llama2", size(tokenizer))
    path = gguf_files.write(tmp_path / "model.gguf", "llama2", model, tokenizer)
    with pytest.raises(UserError, match="out exists already"):
        import_gguf(path, tmp_path / "out", "float32")
    assert (tmp_path / "out" / "mine").read_text() == "kept"
