"""The command export, on a run from scratch; tests/test_from_weights.py has one from weights."""

import json

import jax
import numpy as np
import pytest

from expert_iter.assembly import assemble
from expert_iter.config import default_config, fill_from_weights, settings
from expert_iter.export import text_files
from expert_iter.load import trained_params
from expert_iter.model.tokenizers.load_tokenizer import load_tokenizer
from expert_iter.model.weights import pretrained
from expert_iter.run import Run
from expert_iter.storage import workdir as workdir_lib
from tests.model import hf_models
from tests.model.weights.test_export import logits
from tests.tiny import finish


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with two checkpoints, made without training: its last parameters and its parts."""
    config = default_config("countdown")
    config.mesh.data = 1
    config.task.update(train_size=40, validation_size=4, test_size=4)
    config.model.update(num_layers=1, width=16, num_heads=2, head_dim=8, mlp_width=32)
    workdir = tmp_path_factory.mktemp("scratch") / "run"
    workdir_lib.write_config(workdir, config.to_dict())
    parts = assemble(settings(config), workdir)
    params = parts.initial_params()
    params["value_weight"] = jax.random.normal(jax.random.key(1), (16,))
    made = Run(parts, workdir)
    made.train = made.learner.init(params)
    for phase in ("warm start", "learn"):
        for _ in made.phase(phase, 1, "update"):
            other = jax.tree.map(lambda x: x + 0.01, made.train.trained)
            made.train = made.train._replace(trained=other)
    made.close()
    return workdir, parts, made.params


def test_a_run_from_scratch(run, tmp_path):
    workdir, parts, params = run
    out = tmp_path / "deep" / "out"
    ended = finish("export", f"--workdir={workdir}", f"--out={out}")
    assert ended.returncode == 0, ended.stderr
    size = sum(x.size for x in jax.tree.leaves(params)) / 1e6
    assert ended.stdout == (
        f"{out} holds a gemma model of {size:.2f}M parameters in float32, its tokenizer and its "
        "value head\n"
    )
    text = np.array(parts.tokenizer.encode_prompt("3 5 7 -> 38\n3 + 5 = 8\n"))
    theirs = hf_models.load(out)
    expected = logits(parts.network, params, text)
    np.testing.assert_allclose(hf_models.logits(theirs, text), expected, atol=1e-5)
    ids = parts.tokenizer.ids
    their = theirs.config
    assert (their.bos_token_id, their.eos_token_id, their.pad_token_id) == (
        ids.bos,
        ids.eos,
        ids.pad,
    )
    assert load_tokenizer(out).ids == ids

    # A later run can start from it: network, tokenizer and value head are found there.
    again = default_config("countdown")
    again.pretrained.directory = str(out)
    fill_from_weights(again)
    loaded = assemble(settings(again), tmp_path / "again").initial_params()
    jax.tree.map(np.testing.assert_array_equal, params, loaded)


def test_an_older_checkpoint(run, tmp_path):
    workdir, parts, last = run
    ended = finish("export", f"--workdir={workdir}", f"--out={tmp_path / 'out'}", "--checkpoint=0")
    assert ended.returncode == 0, ended.stderr
    older = pretrained.load_params(tmp_path / "out", parts.network)
    assert np.abs(older["embedding"] - last["embedding"]).min() > 0.005
    jax.tree.map(np.testing.assert_array_equal, older, trained_params(workdir, "0"))


def test_mistakes_are_one_line(run, tmp_path):
    workdir, _, _ = run
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("kept")
    (tmp_path / "untrained").mkdir()
    (tmp_path / "untrained" / "config.json").write_bytes((workdir / "config.json").read_bytes())
    out = f"--out={tmp_path / 'out'}"
    for arguments, message in [
        ([f"--workdir={workdir}"], "error: --out is missing"),
        ([f"--workdir={workdir}", f"--out={tmp_path / 'full'}"], "full exists already: name"),
        ([f"--workdir={tmp_path / 'untrained'}", out], "has no checkpoint yet; train first"),
        ([f"--workdir={workdir}", out, "--family=llama"], "llama has no counterpart of model."),
        ([f"--workdir={workdir}", out, "--checkpoint=frist"], "not 'frist'; "),
        ([f"--workdir={workdir}", out, "--checkpoint=best"], "records no best one"),
    ]:
        ended = finish("export", *arguments)
        assert ended.returncode == 2 and ended.stdout == "", ended
        assert message in ended.stderr and ended.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert [file.name for file in (tmp_path / "full").iterdir()] == ["mine"]


def test_files_of_the_tokenizer(tmp_path):
    run, published = tmp_path / "run", tmp_path / "published"
    published.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "config.json"):
        (published / name).write_text(json.dumps(name))
    own = text_files(run, "", "tokenizer.model")
    assert own == [run / "tokenizer.model"]
    beside = {published / "tokenizer_config.json", published / "chat_template.jinja"}
    for source in (published, published / "tokenizer.json"):
        assert set(text_files(run, str(source), "tokenizer.json")) == beside | {
            published / "tokenizer.json"  # as published, and not as the run keeps it
        }
    assert run / "tokenizer.model" in text_files(run, str(published), "tokenizer.model")
