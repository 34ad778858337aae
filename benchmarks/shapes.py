"""Shapes of the networks that the benchmarks measure."""

from typing import NamedTuple

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
}
