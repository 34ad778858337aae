"""By which names the tensors of a checkpoint may go."""

import jax
import numpy as np
import pytest

from expert_iter.errors import UserError
from expert_iter.model.transformer import Network
from expert_iter.model.weights import pretrained
from tests.model import hf_models
from tests.model.hf_models import VOCAB
from tests.model.weights.test_pretrained import all_logits, edited


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """The directory of a Llama, and the network it is for."""
    directory = tmp_path_factory.mktemp("llama")
    hf_models.make("llama2").save_pretrained(directory)
    return directory, Network(pretrained.transformer_config(directory), VOCAB)


@pytest.mark.parametrize("case", ["gemma3 with images", "llama3", "qwen2 with window"])
def test_a_model_saved_without_its_head_is_read_alike(case, tmp_path):
    """AutoModel saves it so: names begin at the layers. A head that is not tied is put beside."""
    theirs = hf_models.make(case)
    inner = theirs.model.language_model if case == "gemma3 with images" else theirs.model
    inner.save_pretrained(tmp_path / "base")

    def change(tensors):
        assert {"embed_tokens.weight", "layers.0.mlp.up_proj.weight", "norm.weight"} <= {*tensors}
        if not theirs.config.get_text_config().tie_word_embeddings:
            tensors["lm_head.weight"] = theirs.lm_head.weight.detach().numpy()

    directory = edited(tmp_path / "base", tmp_path / "read", change)
    network = Network(pretrained.transformer_config(directory, dtype="float32"), VOCAB)
    params = pretrained.load_params(directory, network)
    text = np.random.default_rng(0).integers(0, VOCAB - 1, 30)
    expected = hf_models.logits(hf_models.load(directory), text)
    np.testing.assert_allclose(expected, hf_models.logits(theirs, text), atol=1e-5)
    np.testing.assert_allclose(
        all_logits(network, params, text[None], np.array([30]))[0], expected, atol=1e-4
    )


@pytest.mark.parametrize("place", ["", "language_model.", "model.language_model."])
def test_where_a_file_keeps_the_language_model_does_not_matter(place, llama, tmp_path):
    directory, network = llama

    def change(tensors):
        for name in [name for name in tensors if name.startswith("model.")]:
            tensors[place + name.removeprefix("model.")] = tensors.pop(name)

    moved = edited(directory, tmp_path / "moved", change)
    jax.tree.map(
        np.testing.assert_array_equal,
        pretrained.load_params(moved, network),
        pretrained.load_params(directory, network),
    )

    def twice(tensors):
        change(tensors)
        tensors["model.norm.weight"] = tensors[f"{place}norm.weight"]

    doubled = edited(directory, tmp_path / "doubled", twice)
    with pytest.raises(UserError) as error:
        pretrained.load_params(doubled, network)
    assert f"{doubled} holds one tensor by two names" in str(error.value)
    assert f"{place}norm.weight" in str(error.value) and "model.norm.weight" in str(error.value)


def test_an_error_names_a_tensor_as_the_file_does(llama, tmp_path):
    directory, network = llama

    def change(tensors):
        tensors["norm.weight"] = tensors.pop("model.norm.weight")[:-1]
        tensors["score.weight"] = np.zeros(3, np.float32)

    with pytest.raises(UserError) as error:
        pretrained.load_params(edited(directory, tmp_path / "wrong", change), network)
    assert str(error.value).split(": tensors do not fit: ")[1] == (
        "score.weight is surplus; norm.weight has the shape [63], not [64]"
    )
