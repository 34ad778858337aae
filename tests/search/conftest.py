"""A tiny network, the reading of whole texts to check searches against, a tree written by hand."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from expert_iter.model.tokenizers.marks import TokenIds
from expert_iter.model.transformer import Network, causal_mask
from tests.search import worlds

VOCAB = 12


@pytest.fixture(scope="session")
def ids():
    return TokenIds(pad=0, bos=1, eos=2, newline=3)


@pytest.fixture(scope="session")
def table_network():
    """For searches on a table of candidates, or of its size."""
    return Network(worlds.SHAPE, worlds.VOCAB)


@pytest.fixture(scope="session")
def read_whole():
    """Reads texts at once, with no cache, past or padding games: `(network, params, texts, ids)`.

    Gives for each text and token its log-probability given those before it (pad and bos are never
    written, the first token is not predicted), the next token's logits, and the value.
    """
    compiled = {}

    def read(network, params, texts, ids, width):
        if network not in compiled:

            def forward(params, token):
                place = jnp.broadcast_to(jnp.arange(token.shape[1]), token.shape)
                hidden, _ = network.hidden(
                    params, token, place, causal_mask(jnp.ones(token.shape, bool))
                )
                logits = network.logits(params, hidden).at[..., jnp.array([ids.pad, ids.bos])]
                return logits.set(-jnp.inf), jax.nn.sigmoid(network.value_logit(params, hidden))

            compiled[network] = jax.jit(forward)
        token = np.zeros((len(texts), width), np.int32)
        for row, text in enumerate(texts):
            token[row, : len(text)] = text
        logits, value = map(np.asarray, compiled[network](params, token))
        log_prob = logits - np.log(np.exp(logits.astype(np.float64)).sum(-1, keepdims=True))
        predicted = np.take_along_axis(log_prob[:, :-1], token[:, 1:, None], axis=2)[..., 0]
        predicted = np.concatenate([np.zeros((len(texts), 1)), predicted], axis=1)
        return SimpleNamespace(log_prob=predicted, logits=logits, value=value)

    return read
