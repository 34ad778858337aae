"""Published weights, read by us, against the library transformers with the same weights."""

import dataclasses
import functools
import json
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from expert_iter.errors import UserError
from expert_iter.model import state
from expert_iter.model.state import State
from expert_iter.model.transformer import KV, Network, causal_mask
from expert_iter.model.weights import pretrained
from tests.model import hf_models
from tests.model.hf_models import CASES, VOCAB

TOKENS = 64  # of the continuation: many windows long


@pytest.fixture(scope="module", params=CASES)
def model(request, tmp_path_factory):
    """A model of transformers, its directory, and our network and parameters made from that."""
    theirs = hf_models.make(request.param)
    directory = tmp_path_factory.mktemp("model")
    # Some in several files with an index.
    theirs.save_pretrained(directory, max_shard_size="100KB" if "llama" in request.param else "1GB")
    config = pretrained.transformer_config(directory, dtype="float32")
    network = Network(config, pretrained.vocab_size(directory))
    return theirs, directory, network, pretrained.load_params(directory, network)


@functools.partial(jax.jit, static_argnums=0)
def all_logits(network, params, token_BxQ, length_B):
    position = jnp.broadcast_to(jnp.arange(token_BxQ.shape[1]), token_BxQ.shape)
    valid = position < length_B[:, None]
    hidden, _ = network.hidden(params, token_BxQ, position, causal_mask(valid))
    return network.logits(params, hidden)


@functools.partial(jax.jit, static_argnums=0)
def continued(network, params, token_BxP, length_B, noise_BxNxV):
    """Continues prompts by TOKENS tokens, each the likeliest by logits and noise, read one by one
    after what is cached. Returns the tokens `[B, N]` and the logits that each was chosen by.
    """
    (B, P), C = token_BxP.shape, token_BxP.shape[1] + TOKENS
    prompt = state.read_prompt(network, params, token_BxP, length_B)
    room = network.empty_kv(B, C)
    before = State(
        KV(*(a.at[:, :, :P].set(b) for a, b in zip(room, prompt.kv, strict=True))),
        jnp.zeros((B, C), int).at[:, :P].set(prompt.position_BxC),
        jnp.zeros((B, C), bool).at[:, :P].set(prompt.mask_BxC),
        prompt.hidden_BxD,
        prompt.next_position_B,
    )

    def step(before, now):
        slot, noise = now
        logits = network.logits(params, before.hidden_BxD)
        token = jnp.argmax(logits + noise, -1)
        new = state.read_step(network, params, before, token[:, None], jnp.ones(B, int))
        after = State(
            KV(*(a.at[:, :, slot].set(b[:, :, 0]) for a, b in zip(before.kv, new.kv, strict=True))),
            before.position_BxC.at[:, slot].set(new.position_BxC[:, 0]),
            before.mask_BxC.at[:, slot].set(True),
            new.hidden_BxD,
            new.next_position_B,
        )
        return after, (token, logits)

    _, (token, logits) = jax.lax.scan(
        step, before, (P + jnp.arange(TOKENS), noise_BxNxV.swapaxes(0, 1))
    )
    return token.T, logits.swapaxes(0, 1)


def prompts(lengths, seed=0):
    """Random texts, and the same padded on the right with rubbish."""
    rng = np.random.default_rng(seed)
    texts = [rng.integers(0, VOCAB - 1, n) for n in lengths]
    token = rng.integers(0, VOCAB - 1, (len(texts), max(lengths)))
    for row, text in enumerate(texts):
        token[row, : len(text)] = text
    return texts, token


def test_logits_equal_those_of_transformers(model):
    theirs, _, network, params = model
    texts, token = prompts((40, 1, 23))
    logits = all_logits(network, params, token, np.array([40, 1, 23]))
    for row, text in enumerate(texts):
        expected = hf_models.logits(theirs, text)
        assert expected.std() > 0.3  # else equality shows little
        np.testing.assert_allclose(logits[row, : len(text)], expected, atol=1e-4)


def test_cached_decoding_continues_alike(model):
    theirs, _, network, params = model
    lengths = (5, 12)
    texts, token = prompts(lengths, seed=1)
    # The first continuation is greedy, which may end in repeating; the second is sampled.
    noise = np.zeros((2, TOKENS, VOCAB), np.float32)
    noise[1] = np.random.default_rng(2).gumbel(size=noise[1].shape)
    token, logits = continued(network, params, token, np.array(lengths), noise)
    assert len(set(token[1].tolist())) > 20
    for row, text in enumerate(texts):
        whole = np.concatenate([text, token[row]])
        expected = hf_models.logits(theirs, whole)[len(text) - 1 : -1]
        np.testing.assert_allclose(logits[row], expected, atol=1e-4)
        # Each token is their choice after those before it: so is the whole continuation.
        np.testing.assert_array_equal(token[row], (expected + noise[row]).argmax(-1))


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """The directory of a Llama in several files, and the network it is for."""
    directory = tmp_path_factory.mktemp("llama")
    hf_models.make("llama2").save_pretrained(directory, max_shard_size="100KB")
    config = pretrained.transformer_config(directory, dtype="float32")
    return directory, Network(config, VOCAB)


def test_bfloat16_is_the_same_rounded(llama):
    """All but norms and value head, which stay float32."""
    directory, network = llama
    half = pretrained.transformer_config(directory, param_dtype="bfloat16")
    assert half == dataclasses.replace(network.config, dtype="bfloat16", param_dtype="bfloat16")
    params = pretrained.load_params(directory, Network(half, VOCAB))
    for (path, mine), full in zip(
        jax.tree_util.tree_leaves_with_path(params),
        jax.tree.leaves(pretrained.load_params(directory, network)),
        strict=True,
    ):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        small = name.endswith("scale") or name.startswith("value")
        assert mine.dtype == ("float32" if small else "bfloat16")
        np.testing.assert_array_equal(mine, full.astype(mine.dtype))


def test_shards_hold_what_the_whole_holds(llama, monkeypatch):
    """On eight devices, cut along any dimension; blocks so small that each matrix has several."""
    directory, network = llama
    whole = pretrained.load_params(directory, network)
    monkeypatch.setattr("expert_iter.model.weights.tensor_files.BLOCK_BYTES", 1200)
    mesh = jax.make_mesh((2, 4), ("x", "y"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    place = lambda *spec: jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*spec))  # noqa: E731
    shardings = jax.tree.map(lambda x: place(), network.abstract_params())
    shardings["embedding"] = place(None, "y")
    shardings["blocks"]["gate"] = place(None, "x", "y")
    shardings["blocks"]["down"] = place("x", "y")
    shardings["blocks"]["mlp_norm"]["scale"] = place(None, ("x", "y"))
    cut = pretrained.load_params(directory, network, shardings)
    for tree in (cut, pretrained.load_params(directory, network, place())):
        jax.tree.map(np.testing.assert_array_equal, tree, whole)
    assert jax.tree.map(lambda x: x.sharding, cut) == shardings
    assert {s.data.shape for s in cut["blocks"]["down"].addressable_shards} == {(1, 24, 64)}


# As published; what these files leave out is what the class in transformers has by default.
PUBLISHED = {
    "Llama 3.1 8B": (
        """{"model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        "rms_norm_eps": 1e-05, "rope_theta": 500000.0, "tie_word_embeddings": false,
        "hidden_act": "silu", "attention_bias": false, "mlp_bias": false, "vocab_size": 128256,
        "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192, "rope_type": "llama3"}}""",
        dict(width=4096, num_layers=32, num_heads=32, num_kv_heads=8, head_dim=128)
        | dict(rope_base=5e5, rope_scaling="llama3", rope_factor=8.0, rope_original_length=8192)
        | dict(tie_embedding=False, norm_epsilon=1e-5, scale_embedding=False, sliding_window=0),
        128256,
    ),
    "Qwen2.5 7B": (
        """{"model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944,
        "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
        "hidden_act": "silu", "max_window_layers": 28, "sliding_window": 131072,
        "use_sliding_window": false, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0,
        "tie_word_embeddings": false, "vocab_size": 152064}""",
        dict(width=3584, num_layers=28, num_heads=28, num_kv_heads=4, head_dim=128)
        | dict(qkv_bias=True, qk_norm=False, sliding_window=0, global_layers=(), rope_base=1e6),
        152064,
    ),
    "Gemma 2 2B": (
        """{"model_type": "gemma2", "hidden_size": 2304, "intermediate_size": 9216,
        "num_hidden_layers": 26, "num_attention_heads": 8, "num_key_value_heads": 4,
        "head_dim": 256, "hidden_act": "gelu_pytorch_tanh", "rms_norm_eps": 1e-06,
        "hidden_activation": "gelu_pytorch_tanh", "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0, "query_pre_attn_scalar": 256, "sliding_window": 4096,
        "rope_theta": 10000.0, "vocab_size": 256000}""",
        dict(attention_softcap=50.0, logit_softcap=30.0, query_scale=256.0, sliding_window=4096)
        | dict(global_layers=tuple(range(1, 26, 2)), tie_embedding=True, post_norms=True),
        256000,
    ),
    "Gemma 3 4B": (
        """{"model_type": "gemma3", "text_config": {"model_type": "gemma3_text",
        "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024},
        "vision_config": {"hidden_size": 1152}}""",
        dict(width=2560, num_heads=8, num_kv_heads=4, head_dim=256, sliding_window=1024)
        | dict(global_layers=(5, 11, 17, 23, 29), rope_base=1e6, local_rope_base=1e4)
        | dict(rope_scaling="linear", rope_factor=8.0, qk_norm=True, logit_softcap=0.0),
        262208,
    ),
    "Mistral 7B v0.1": (
        """{"model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        "hidden_act": "silu", "rms_norm_eps": 1e-05, "rope_theta": 10000.0,
        "sliding_window": 4096, "tie_word_embeddings": false, "vocab_size": 32000}""",
        dict(head_dim=128, sliding_window=4096, global_layers=(), activation="silu"),
        32000,
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_settings_are_understood(name, tmp_path):
    content, expected, vocab = PUBLISHED[name]
    (tmp_path / "config.json").write_text(content)
    config = dataclasses.asdict(pretrained.transformer_config(tmp_path))
    assert {key: config[key] for key in expected} == expected
    assert config["dtype"] == "bfloat16" and config["param_dtype"] == "float32"
    assert pretrained.vocab_size(tmp_path) == vocab


@pytest.mark.parametrize(
    "change, named",
    [
        ({"model_type": "gpt2"}, "model_type 'gpt2' is not supported"),
        ({"model_type": None}, "model_type None"),
        ({"hidden_size": None}, "hidden_size is missing"),
        ({"hidden_size": "64"}, "hidden_size must be a whole number, got '64'"),
        ({"num_attention_heads": 0}, "num_heads must be at least 1"),
        ({"attention_bias": True}, "attention_bias=True"),
        ({"hidden_act": "relu"}, "hidden_act='relu'"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, "rope scaling 'yarn'"),
        ({"rope_parameters": {"rope_type": "linear"}}, "factor is missing"),
        ({"rope_parameters": 3}, "rope_parameters must be an object"),
        ({"model_type": "gemma3"}, "num_hidden_layers is missing"),
        (
            {"model_type": "qwen2", "layer_types": ["sliding_attention", "full_attention"]},
            "no sliding_window",
        ),
        ({"model_type": "qwen2", "layer_types": ["full_attention"]}, "layer_types must list"),
    ],
)
def test_what_cannot_be_read_from_config_json_is_named(change, named, llama, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads((llama[0] / "config.json").read_text()) | change))
    with pytest.raises(UserError, match=f"{path}: .*{named}") as error:
        pretrained.transformer_config(tmp_path)
    assert "\n" not in str(error.value)


def test_a_missing_or_damaged_config_json_is_named(tmp_path):
    for content in (None, "{", "[]"):
        if content is not None:
            (tmp_path / "config.json").write_text(content)
        with pytest.raises(UserError, match="config.json"):
            pretrained.transformer_config(tmp_path)


def edited(directory, to, change):
    """A copy of a checkpoint in one file, with `change` made to its tensors."""
    to.mkdir()
    shutil.copy(directory / "config.json", to)
    tensors = {}
    for file in directory.glob("*.safetensors"):
        tensors |= safetensors.numpy.load_file(file)
    change(tensors)
    safetensors.numpy.save_file(tensors, to / "model.safetensors")
    return to


def test_tensors_that_do_not_fit_are_named_in_one_line(llama, tmp_path):
    directory, network = llama

    def change(tensors):
        del tensors["model.layers.1.mlp.up_proj.weight"]
        tensors["model.layers.2.mlp.up_proj.weight"] = np.zeros((96, 64), np.float32)
        tensors["model.norm.weight"] = np.zeros(63, np.float32)
        tensors["lm_head.weight"] = np.zeros((VOCAB, 64), np.int8)

    with pytest.raises(UserError) as error:
        pretrained.load_params(edited(directory, tmp_path / "wrong", change), network)
    assert str(error.value).split(": tensors do not fit: ")[1] == (
        "model.layers.1.mlp.up_proj.weight is missing; "
        "model.layers.2.mlp.up_proj.weight is surplus; "
        "model.norm.weight has the shape [63], not [64]; "
        "lm_head.weight is of type I8, not one of F32, BF16, F16"
    )
    with pytest.raises(UserError, match="embed_tokens.weight has the shape .* and 1 more|lm_head"):
        pretrained.load_params(directory, Network(network.config, VOCAB + 1))


def test_a_stored_head_must_be_the_embedding_it_is_tied_to(tmp_path):
    hf_models.make("llama3").save_pretrained(tmp_path / "tied")
    network = Network(pretrained.transformer_config(tmp_path / "tied"), VOCAB)
    plain = pretrained.load_params(tmp_path / "tied", network)

    def change(tensors):
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].copy()
        tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(8, np.float32)

    same = pretrained.load_params(edited(tmp_path / "tied", tmp_path / "same", change), network)
    jax.tree.map(np.testing.assert_array_equal, same, plain)

    def other(tensors):
        change(tensors)
        tensors["lm_head.weight"][-1, -1] += 1

    with pytest.raises(UserError, match="lm_head.weight differs from the embedding"):
        pretrained.load_params(edited(tmp_path / "tied", tmp_path / "other", other), network)


def test_files_that_are_missing_or_cut_short_are_named(llama, tmp_path):
    directory, network = llama
    shutil.copytree(directory, tmp_path / "cut")
    file = sorted((tmp_path / "cut").glob("*.safetensors"))[1]
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match=f"{file} is damaged"):
        pretrained.load_params(tmp_path / "cut", network)
    file.unlink()
    with pytest.raises(UserError, match=f"{file}"):
        pretrained.load_params(tmp_path / "cut", network)
    (tmp_path / "cut" / "model.safetensors.index.json").unlink()
    with pytest.raises(UserError, match="holds neither model.safetensors nor"):
        pretrained.load_params(tmp_path / "cut", network)


def test_a_network_of_other_settings_is_refused(llama):
    directory, network = llama
    other = Network(dataclasses.replace(network.config, rope_base=5e5), VOCAB)
    with pytest.raises(UserError, match="model.rope_base is 500000.0, but .* says 10000.0"):
        pretrained.load_params(directory, other)


MEASURE = """
import json, sys, jax
from expert_iter.model.weights import pretrained
from expert_iter.model.transformer import Network

def memory(kind):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(kind)) * 1024

network = Network(pretrained.transformer_config(sys.argv[1]), pretrained.vocab_size(sys.argv[1]))
jax.block_until_ready(jax.numpy.zeros(3) + 1)
before = memory("VmRSS")
params = jax.block_until_ready(pretrained.load_params(sys.argv[1], network))
size = sum(x.nbytes for x in jax.tree.leaves(params))
print(json.dumps([size, memory("VmHWM") - before - size, memory("VmRSS") - before - size]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_the_host_holds_little_besides_the_parameters(tmp_path):
    """On CPU the parameters are in the same memory, so what counts is what comes on top of them."""
    L, D, M, V = 8, 512, 2048, 20_000
    rng = np.random.default_rng(0)
    noise = lambda *shape: rng.standard_normal(shape, np.float32)  # noqa: E731
    tensors = {"model.embed_tokens.weight": noise(V, D), "model.norm.weight": noise(D)}
    for layer in range(L):
        own = {f"self_attn.{x}_proj.weight": noise(D, D) for x in "qkvo"}
        own |= {f"mlp.{x}_proj.weight": noise(M, D) for x in ("gate", "up")}
        own |= {"mlp.down_proj.weight": noise(D, M), "input_layernorm.weight": noise(D)}
        own |= {"post_attention_layernorm.weight": noise(D)}
        tensors |= {f"model.layers.{layer}.{name}": x for name, x in own.items()}
    safetensors.numpy.save_file(tensors, tmp_path / "model.safetensors")
    config = dict(model_type="llama", vocab_size=V, hidden_size=D, intermediate_size=M)
    config |= dict(num_hidden_layers=L, num_attention_heads=8, tie_word_embeddings=True)
    (tmp_path / "config.json").write_text(json.dumps(config))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)], capture_output=True, text=True, check=True
    )
    size, peak, left = json.loads(done.stdout)
    assert size == sum(x.nbytes for x in tensors.values()) + 4 * (D + 1)
    # What is left are XLA's compiler and a dozen small programs, whatever the size of the model.
    assert left < 64 * 2**20
    assert peak - left < 1.1 * tensors["model.embed_tokens.weight"].nbytes
