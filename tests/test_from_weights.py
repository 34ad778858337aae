"""From published weights to an export, by the commands of docs/weights.md, on tiny stand-ins."""

import itertools
import re
import shlex

import jax
import numpy as np
import pytest
import torch
import transformers

from expert_iter.assembly import assemble
from expert_iter.config import completed, settings
from expert_iter.load import load_params
from expert_iter.model import adapters
from expert_iter.model.weights import pretrained
from expert_iter.storage.workdir import read_config
from tests.model import hf_models
from tests.model.tokenizers.test_bpe import write_checkpoint
from tests.model.weights.test_export import logits
from tests.tasks import made_up
from tests.tiny import ROOT, finish

PAGE = (ROOT / "docs" / "weights.md").read_text()
SHORT = [
    f"--config.{setting}"
    for setting in (
        "task.verify_files=false task.test_size=4 task.validation_size=2 "
        # Where ours and transformers' can be compared, and a few updates show.
        "model.dtype=float32 model.param_dtype=float32 model.lora_rank=4 "
        "optimizer.learning_rate=0.03 optimizer.warmup_updates=0 warm_start.updates=4 "
        "learner.rows=2 learner.row_tokens=192 learner.row_steps=24 learner.updates_per_round=2 "
        "search.max_steps=2 search.max_step_tokens=6 search.num_simulations=2 "
        "search.num_candidates=2 guess.max_tokens=8 guess.num_samples=2 "
        "run.rounds=1 run.problems_per_round=4 run.batch_size=4 "
        "evaluation.problems=4 evaluation.batch_size=4 evaluation.samples=(2,) "
        "evaluation.simulations=(2,) evaluation.num_candidates=2 evaluation.round_problems=2 "
        "evaluation.round_simulations=2"
    ).split()
]


def commands(tmp_path):
    """The page's first commands as lists of words, with our files for the reader's."""
    block = re.search(r"```bash\n(.*?)```", PAGE, re.DOTALL).group(1).replace("\\\n", " ")
    words = [shlex.split(line, comments=True) for line in block.splitlines()]
    ours = {
        "runs/llama3": "run",
        "data/gsm8k": "data",
        "weights/Llama-3.1-8B": "weights",
        "exported/llama3": "exported",
    }
    for line in filter(None, words):
        assert line[:2] == ["python", "-m"], line
        for theirs, mine in ours.items():
            line = [word.replace(theirs, str(tmp_path / mine)) for word in line]
        yield line[2].removeprefix("expert_iter."), line[3:]


def write_gsm8k(folder):
    """Prompts are of one length, so that each search is compiled once."""

    def rows(name):
        for i, j in itertools.product(range(1, 10), repeat=2):
            question = f"{name} has {i} pens and buys {j}. How many is that?"
            yield {"question": question, "answer": f"That is {i}+{j}={i + j}.\n#### {i + j}"}

    made_up.lines(folder / "train.jsonl", rows("Bo"))
    made_up.lines(folder / "test.jsonl", rows("J'"))


@pytest.fixture(scope="module")
def began(tmp_path_factory):
    """A directory with data and a Llama's checkpoint, and the model in it."""
    folder = tmp_path_factory.mktemp("began")
    weights, data = folder / "weights", folder / "data"
    weights.mkdir(), data.mkdir()
    write_gsm8k(data)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=448,  # more than the tokenizer has, as in published ones
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=1,
        max_position_embeddings=512,
        rope_theta=500.0,
        initializer_range=0.2,
    )
    model = transformers.LlamaForCausalLM(config).eval()
    model.save_pretrained(weights)
    tokenizer = write_checkpoint(weights, "llama")
    assert tokenizer.get_vocab_size() < 448
    return folder, model


@pytest.mark.slow
def test_the_path_of_the_page_on_weights(began):
    folder, before = began
    names = []
    for name, arguments in commands(folder):
        ended = finish(name, *arguments, *(SHORT if name == "train" else []))
        assert ended.returncode == 0, (name, ended.stdout[-2000:], ended.stderr[-3000:])
        names.append((name, ended.stdout))
    said = dict(names)
    assert [name for name, _ in names] == ["train", "evaluate", "solve", "export"]
    assert "gsm8k: " in said["train"] and "pass@2" in said["train"]
    suggested = shlex.split(said["train"].rpartition("Next: python -m ")[2])
    assert suggested[0] == "expert_iter.solve"
    assert suggested[-1] == "J' has 1 pens and buys 1. How many is that?"
    assert "majority of 2" in said["evaluate"]
    assert said["export"].startswith(f"{folder / 'exported'} holds a llama model of 0.0")
    assert "float32, adapters merged" in said["export"]

    out, workdir = folder / "exported", folder / "run"
    config = completed(read_config(workdir))
    config["mesh"]["data"] = 1
    parts = assemble(settings(config), workdir)
    params = load_params(workdir, parts)
    theirs = hf_models.load(out)
    text = np.array(parts.tokenizer.encode_prompt("Question: Bo has 3 pears.\nAnswer:\n3 + 4 = 7"))
    ours = np.asarray(logits(parts.network, params, text))  # with adapters beside the weights
    np.testing.assert_allclose(hf_models.logits(theirs, text), ours, atol=1e-4)
    assert np.abs(hf_models.logits(before, text) - ours).max() > 0.05  # they have learned
    assert theirs.config.max_position_embeddings == 512

    # Their tokenizer, and a further run's start, find what they need there.
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    assert tokenizer("Bo has 3 pears.")["input_ids"] == parts.tokenizer.encode_prompt(
        "Bo has 3 pears."
    )
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (out / name).read_bytes() == (folder / "weights" / name).read_bytes()
    config = pretrained.transformer_config(out, "float32", "float32")
    network = type(parts.network)(config, pretrained.vocab_size(out))
    merged = adapters.merge(params, parts.settings.model)
    again = pretrained.load_params(out, network)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), merged, again)
    assert np.abs(again["value_weight"]).max() > 0
