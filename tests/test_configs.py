"""Every file in configs/ holds valid settings; those that begin with published weights run at the
published structure, with small widths.
"""

import copy
import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest
import torch
import transformers

from expert_iter.assembly import assemble
from expert_iter.config import fill_from_weights, settings
from expert_iter.learn.replay import Replay
from expert_iter.model.transformer import Network
from expert_iter.model.weights import pretrained
from expert_iter.model.weights.family_configs import differences, to_ours
from expert_iter.overrides import load_config
from tests.model import hf_models
from tests.model.tokenizers.test_bpe import write_checkpoint
from tests.model.tokenizers.test_sentencepiece_model import write_gemma
from tests.model.weights.test_export import logits
from tests.tasks import made_up

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.py"))

# config.json as published, the keys that say nothing about the network left out.
GEMMA2 = dict(
    architectures=["Gemma2ForCausalLM"],
    attention_bias=False,
    attn_logit_softcapping=50.0,
    bos_token_id=2,
    cache_implementation="hybrid",
    eos_token_id=1,
    final_logit_softcapping=30.0,
    head_dim=256,
    hidden_act="gelu_pytorch_tanh",
    hidden_activation="gelu_pytorch_tanh",
    hidden_size=2304,
    intermediate_size=9216,
    max_position_embeddings=8192,
    model_type="gemma2",
    num_attention_heads=8,
    num_hidden_layers=26,
    num_key_value_heads=4,
    pad_token_id=0,
    query_pre_attn_scalar=256,
    rms_norm_eps=1e-6,
    rope_theta=10000.0,
    sliding_window=4096,
    torch_dtype="float32",
    vocab_size=256000,
)
LLAMA3 = dict(
    architectures=["LlamaForCausalLM"],
    attention_bias=False,
    bos_token_id=128000,
    eos_token_id=128001,
    hidden_act="silu",
    hidden_size=4096,
    intermediate_size=14336,
    max_position_embeddings=131072,
    mlp_bias=False,
    model_type="llama",
    num_attention_heads=32,
    num_hidden_layers=32,
    num_key_value_heads=8,
    pretraining_tp=1,
    rms_norm_eps=1e-5,
    rope_scaling=dict(
        factor=8.0,
        low_freq_factor=1.0,
        high_freq_factor=4.0,
        original_max_position_embeddings=8192,
        rope_type="llama3",
    ),
    rope_theta=500000.0,
    tie_word_embeddings=False,
    torch_dtype="bfloat16",
    vocab_size=128256,
)
QWEN3 = dict(
    architectures=["Qwen3ForCausalLM"],
    attention_bias=False,
    bos_token_id=151643,
    eos_token_id=151643,
    head_dim=128,
    hidden_act="silu",
    hidden_size=2560,
    intermediate_size=9728,
    max_position_embeddings=32768,
    max_window_layers=36,
    model_type="qwen3",
    num_attention_heads=32,
    num_hidden_layers=36,
    num_key_value_heads=8,
    rms_norm_eps=1e-6,
    rope_scaling=None,
    rope_theta=1000000,
    sliding_window=None,
    tie_word_embeddings=True,
    torch_dtype="bfloat16",
    use_sliding_window=False,
    vocab_size=151936,
)


@dataclasses.dataclass(frozen=True)
class Published:
    """config.json, the number of parameters that the model's page says, and how its config is made
    small: lengths go with it where they would not matter any more in a short text.
    """

    config: dict
    parameters: int
    small: dict
    write_tokenizer: object


_SMALL = dict(hidden_size=32, intermediate_size=48, vocab_size=512) | dict.fromkeys(
    ("bos_token_id", "eos_token_id", "pad_token_id")  # the tokenizer is a small one, too
)
PUBLISHED = {
    "gsm8k_gemma2_2b": Published(
        GEMMA2,
        2_614_341_888,
        dict(num_hidden_layers=4, head_dim=8, query_pre_attn_scalar=8, sliding_window=16),
        write_gemma,
    ),
    "gsm8k_llama3_8b": Published(
        LLAMA3,
        8_030_261_248,
        dict(
            num_hidden_layers=2,
            hidden_size=256,  # 32 heads of 8: config.json does not name the heads' width
            rope_scaling=LLAMA3["rope_scaling"] | {"original_max_position_embeddings": 64},
        ),
        lambda folder: write_checkpoint(folder, "llama"),
    ),
    "gsm8k_qwen3_4b": Published(
        QWEN3,
        4_022_468_096,
        dict(num_hidden_layers=2, head_dim=8),
        lambda folder: write_checkpoint(folder, "qwen"),
    ),
}
PODS = {"gemma2_2b_v5e8": GEMMA2, "llama3_8b_v6e8": LLAMA3, "qwen3_4b_v6e8": QWEN3}
# Sizes of batches, and how long is trained and searched: not the structure.
SHORT = {
    "search": dict(max_steps=3, max_step_tokens=6, num_simulations=3, num_candidates=3),
    "learner": dict(rows=2, row_tokens=192, row_steps=24),
    "run": dict(batch_size=2, problems_per_round=2),
}


def write_json(path, content):
    path.write_text(json.dumps(content))


def random_model(folder):
    """What transformers makes of a config.json, with noise in every weight."""
    torch.manual_seed(0)
    config = transformers.AutoConfig.from_pretrained(folder, attn_implementation="eager")
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for weight in model.parameters():
        noise = torch.randn_like(weight)
        weight.data = noise * weight.shape[1] ** -0.5 if weight.ndim > 1 else 1 + 0.3 * noise
    model.tie_weights()
    return model.eval()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_settings_are_valid(path):
    config = load_config(str(path))
    made = settings(config)
    again = settings(json.loads(json.dumps(config.to_dict())))
    assert again == made
    assert bool(made.model.lora_rank) == (path.stem in PUBLISHED)
    text = path.read_text()
    assert f"--config=configs/{path.name}" in text


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_size(name, tmp_path):
    """What the files say, in full: every parameter is there, and no more."""
    published = PUBLISHED[name]
    write_json(tmp_path / "config.json", published.config)
    config = load_config(f"configs/{name}.py")
    config.pretrained.directory = str(tmp_path)
    fill_from_weights(config)
    made = settings(config)
    assert (made.model.dtype, made.model.param_dtype) == ("bfloat16", "bfloat16")
    plain = dataclasses.replace(made.model, lora_rank=0)
    params = Network(plain, made.pretrained.vocab_size).abstract_params()
    sizes = {key: sum(x.size for x in jax.tree.leaves(part)) for key, part in params.items()}
    assert sizes.pop("value_weight") + sizes.pop("value_bias") == made.model.width + 1
    assert sum(sizes.values()) == published.parameters
    # One page's tokens, and the widest prefix, fit the planned lengths.
    assert made.learner.row_tokens >= 256 + made.search.max_steps * made.search.max_step_tokens


# Without --slow, tests/model/weights/test_pretrained.py shows that every family is computed right.
@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_structure_runs(name, tmp_path):
    """Two updates on demonstrations and a search with the verifier; transformers agrees with what
    was read from its tensors and the config.json above.
    """
    published = PUBLISHED[name]
    weights, data = tmp_path / "weights", tmp_path / "data"
    weights.mkdir(), data.mkdir()
    write_json(weights / "config.json", small := published.config | _SMALL | published.small)
    theirs = random_model(weights)
    theirs.save_pretrained(weights)
    write_json(weights / "config.json", small)  # as published, and not as written again
    published.write_tokenizer(weights)
    made_up.gsm8k(data)

    config = load_config(f"configs/{name}.py")
    config.pretrained.directory, config.task.data_dir = str(weights), str(data)
    config.task.verify_files, config.mesh.data = False, 1
    for section, changes in SHORT.items():
        config[section].update(changes)
    reference = copy.deepcopy(config)
    fill_from_weights(config)
    parts = assemble(settings(config), tmp_path / "run")
    learner, expert = parts.learner(), parts.expert()
    problems = parts.task.problems("train")[:40]
    state = learner.init(parts.initial_params())
    frozen = jax.tree.map(np.asarray, state.frozen)
    plays, nothing = parts.plays(problems), Replay(parts.settings.replay)
    batches = learner.batches(nothing, plays, 2, np.random.default_rng)
    losses = []
    for update in range(2):
        batch = batches.make(update)
        state, figures = learner.update(state, batch)
        losses.append({key: float(x) for key, x in figures.items()})
    assert all(np.isfinite(list(figures.values())).all() for figures in losses)
    assert losses[0]["gradient_norm"] > 0
    jax.tree.map(np.testing.assert_array_equal, frozen, state.frozen)

    searched = next(expert.searches(state.params, [(problems[:2], jax.random.key(0))]))
    trees = searched.trees
    assert trees.live.sum(axis=1).min() >= 2  # a root and at least one step below it
    c = trees.candidates
    assert (c.length[c.valid] > 0).all() and np.isfinite(c.log_pi[c.valid]).all()
    parts.distil(searched, np.random.default_rng(0).spawn(2))

    # The same in float32, where it can be compared.
    reference.model.update(dtype="float32", param_dtype="float32", lora_rank=0)
    fill_from_weights(reference)
    network = Network(settings(reference).model, 512)
    params = pretrained.load_params(weights, network)
    text = np.random.default_rng(1).integers(0, 400, 40)
    mine = logits(network, params, text)
    np.testing.assert_allclose(hf_models.logits(theirs, text), mine, atol=1e-4)
    assert mine.std() > 0.1


@pytest.mark.parametrize("name", PODS)
def test_pods_have_the_published_shape(name):
    checked = settings(load_config(str(CONFIGS[0].parent / "pods" / f"{name}.py")))
    assert differences(checked.model, to_ours(PODS[name], "bfloat16", "float32")) == []
    assert checked.pretrained.vocab_size == PODS[name]["vocab_size"]
