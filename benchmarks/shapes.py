"""Shapes of the networks that the benchmarks measure, and steps of one length for them."""

from types import SimpleNamespace
from typing import NamedTuple

import jax

from expert_iter.model.step_ends import StepEnds
from expert_iter.model.tokenizers.marks import TokenIds
from expert_iter.model.transformer import Network
from expert_iter.model.transformer_config import TransformerConfig


class Shape(NamedTuple):
    """settings: of `TransformerConfig`; vocab_size: of the network."""

    settings: dict
    vocab_size: int

    def network(self, **changes) -> Network:
        """changes: settings that are other than here, such as dtype='bfloat16'."""
        return Network(TransformerConfig(**self.settings | changes), self.vocab_size)


SHAPES = {
    # The quick start's (configs/countdown.py), 0.43M parameters.
    "tiny": Shape(dict(rope_base=100.0), 76),
    # About 10M.
    "small": Shape(
        dict(num_layers=6, width=384, num_heads=6, num_kv_heads=2, head_dim=64, mlp_width=1024),
        512,
    ),
    # About 100M.
    "medium": Shape(
        dict(num_layers=12, width=768, num_heads=12, num_kv_heads=4, head_dim=64, mlp_width=2560),
        8192,
    ),
    # SmolLM2-135M's, with its vocabulary.
    "smollm2": Shape(
        dict(
            num_layers=30,
            width=576,
            num_heads=9,
            num_kv_heads=3,
            head_dim=64,
            mlp_width=1536,
            rope_base=1e5,
        ),
        49_152,
    ),
}


def parameters(network: Network) -> int:
    """Numbers of the network."""
    return sum(x.size for x in jax.tree.leaves(network.abstract_params()))


def never_ending(vocab_size: int) -> StepEnds:
    """No token ends a step, and what ends a text is past the vocabulary."""
    ids = TokenIds(pad=0, bos=None, eos=vocab_size, newline=vocab_size)
    words = SimpleNamespace(vocab_size=vocab_size, token_text=lambda token: "x", ids=ids)
    return StepEnds(words, "line")
