"""Networks written as Hugging Face directories: transformers and we read them alike."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from expert_iter.errors import UserError
from expert_iter.model.transformer import Network, causal_mask
from expert_iter.model.transformer_config import TransformerConfig
from expert_iter.model.weights import pretrained
from expert_iter.model.weights.export import export
from tests.model import hf_models
from tests.model.hf_models import CASES, VOCAB

SCRATCH = TransformerConfig(num_layers=2, width=24, num_heads=4, head_dim=10, mlp_width=40)


@functools.partial(jax.jit, static_argnums=0)
def logits(network, params, token_Q):
    Q = len(token_Q)
    position = jnp.arange(Q)[None]
    mask = causal_mask(jnp.ones((1, Q), bool))
    hidden, _ = network.hidden(params, token_Q[None], position, mask)
    return network.logits(params, hidden)[0]


def tensors(directory):
    files = sorted(directory.glob("model*.safetensors"))
    return {k: v for file in files for k, v in safetensors.numpy.load_file(file).items()}


def equal(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    same = lambda a, b: a.dtype == b.dtype and np.array_equal(a, b)  # noqa: E731
    return all(map(same, jax.tree.leaves(one), jax.tree.leaves(other)))


@pytest.mark.parametrize("case", CASES)
def test_a_family_goes_in_and_out_unchanged(case, tmp_path):
    """Bit for bit, tensors and parameters, and transformers computes the same with them."""
    model = hf_models.make(case)
    model.save_pretrained(tmp_path / "in")
    config = pretrained.transformer_config(tmp_path / "in", dtype="float32")
    network = Network(config, VOCAB)
    params = pretrained.load_params(tmp_path / "in", network)
    params["value_weight"], params["value_bias"] = jnp.arange(64.0), jnp.float32(0.25)
    family = pretrained.family_name(tmp_path / "in")
    most = 100_000 if case.startswith("qwen") else 2**30
    extra = {"max_position_embeddings": 256, "eos_token_id": 5, "vocab_size": -1}
    export(params, config, VOCAB, tmp_path / "out", family, extra, shard_bytes=most)
    assert (tmp_path / "out" / "model.safetensors.index.json").exists() == (most < 2**30)
    for file in (tmp_path / "out").glob("model-*"):
        assert file.stat().st_size < most + 4096

    again = pretrained.transformer_config(tmp_path / "out", dtype="float32")
    assert again == config
    assert equal(params, pretrained.load_params(tmp_path / "out", network))
    before, after = tensors(tmp_path / "in"), tensors(tmp_path / "out")
    if case == "gemma3 with images":  # the text's part comes out
        assert len(after) == 2 + 13 * 4
    else:
        assert equal(before, after)
    theirs = hf_models.load(tmp_path / "out")
    assert theirs.config.eos_token_id == 5 and theirs.config.max_position_embeddings == 256
    text = np.random.default_rng(0).integers(0, VOCAB - 1, 30)
    expected = hf_models.logits(model, text)
    np.testing.assert_allclose(hf_models.logits(theirs, text), expected, atol=1e-5)


@pytest.mark.parametrize(
    "options, family",
    [
        ({}, "gemma"),
        ({"num_kv_heads": 4, "query_scale": 10.0}, "gemma"),
        (
            {
                "post_norms": True,
                "attention_softcap": 2.0,
                "logit_softcap": 3.0,
                "sliding_window": 4,
                "global_every": 2,
            },
            "gemma2",
        ),
        (
            {
                "activation": "silu",
                "norm_plus_one": False,
                "scale_embedding": False,
                "tie_embedding": False,
                "sliding_window": 4,
            },
            "mistral",
        ),
    ],
)
def test_a_network_made_here_is_one_of_a_family(options, family, tmp_path, random_params):
    config = dataclasses.replace(SCRATCH, **options)
    network = Network(config, VOCAB)
    params = random_params(network)
    (tmp_path / "tokenizer.model").write_bytes(b"pieces")
    out = tmp_path / "deep" / "out"
    assert export(params, config, VOCAB, out, files=[tmp_path / "tokenizer.model"]) == family
    assert (out / "tokenizer.model").read_bytes() == b"pieces"
    assert not list(out.parent.glob("*.partial"))
    text = np.random.default_rng(0).integers(0, VOCAB, 30)
    mine = logits(network, params, text)
    assert mine.std() > 0.3
    np.testing.assert_allclose(hf_models.logits(hf_models.load(out), text), mine, atol=1e-4)
    assert equal(params, pretrained.load_params(out, network))


def test_bfloat16_stays_as_it_is(tmp_path):
    config = dataclasses.replace(SCRATCH, param_dtype="bfloat16")
    network = Network(config, VOCAB)
    params = network.init(jax.random.key(0))
    export(params, config, VOCAB, tmp_path / "out")
    assert {str(x.dtype) for x in tensors(tmp_path / "out").values()} == {"bfloat16"}
    assert json.loads((tmp_path / "out" / "config.json").read_text())["torch_dtype"] == "bfloat16"
    assert equal(params, pretrained.load_params(tmp_path / "out", network))


def test_scalar_heads_are_kept_and_new_ones_are_zero(tmp_path, random_params):
    """Whatever an objective calls its head; the value head is one of them."""
    params = random_params(Network(SCRATCH, VOCAB, ("value", "progress")))
    export(params, SCRATCH, VOCAB, tmp_path / "out")
    heads = Network(SCRATCH, VOCAB, ("progress", "effort"))
    again = pretrained.load_params(tmp_path / "out", heads)
    for name in ("progress_weight", "progress_bias"):
        assert np.any(params[name]) and np.array_equal(again[name], params[name])
    assert not np.any(again["effort_weight"]) and not np.any(again["effort_bias"])
    assert "value_weight" not in again


def test_a_file_of_heads_without_the_value_is_refused(tmp_path):
    export(Network(SCRATCH, VOCAB).init(jax.random.key(0)), SCRATCH, VOCAB, tmp_path / "out")
    heads = {"value_weight": np.zeros(24, np.float32)}
    safetensors.numpy.save_file(heads, tmp_path / "out" / pretrained.SCALAR_HEADS)
    with pytest.raises(UserError, match="value_bias is missing"):
        pretrained.load_params(tmp_path / "out", Network(SCRATCH, VOCAB))


def test_a_scalar_head_of_another_width_is_named(tmp_path):
    export(Network(SCRATCH, VOCAB).init(jax.random.key(0)), SCRATCH, VOCAB, tmp_path / "out")
    heads = {"value_weight": np.zeros(5, np.float32), "value_bias": np.zeros((), np.float32)}
    safetensors.numpy.save_file(heads, tmp_path / "out" / pretrained.SCALAR_HEADS)
    with pytest.raises(UserError, match=r"value_weight must be \[24\]"):
        pretrained.load_params(tmp_path / "out", Network(SCRATCH, VOCAB))


@pytest.mark.parametrize(
    "options, family, named",
    [
        ({"activation": "silu"}, "", "model.activation='silu'"),
        ({"attention_softcap": 1.5}, "", "gemma has no counterpart of model.attention_softcap=1.5"),
        ({"sliding_window": 4}, "gemma", "model.sliding_window=4"),
        ({"qk_norm": True}, "gemma2", "gemma2 has no counterpart of model.qk_norm=True"),
        (
            {"sliding_window": 4, "global_every": 2, "activation": "silu", "norm_plus_one": False}
            | {"scale_embedding": False},
            "mistral",
            "model.global_every=2",
        ),
        ({"post_norms": True, "query_scale": 2.5}, "gemma2", "model.query_scale=2.5"),
        ({"post_norms": True, "width": 26}, "gemma2", r"model.width \(26\)"),
        ({}, "gpt2", "no family 'gpt2'"),
    ],
)
def test_the_option_in_the_way_is_named(options, family, named, tmp_path):
    config = dataclasses.replace(SCRATCH, **options)
    params = Network(config, VOCAB).init(jax.random.key(0))
    with pytest.raises(UserError, match=named):
        export(params, config, VOCAB, tmp_path / "out", family)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten_and_nothing_half_written(tmp_path):
    params = Network(SCRATCH, VOCAB).init(jax.random.key(0))
    (tmp_path / "mine").write_text("kept")
    with pytest.raises(UserError, match="exists already"):
        export(params, SCRATCH, VOCAB, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine"]
    with pytest.raises(UserError, match="cannot be written"):
        export(params, SCRATCH, VOCAB, tmp_path / "out", files=[tmp_path / "missing"])
    assert [file.name for file in tmp_path.iterdir()] == ["mine"]
