"""The memory of an update of the parameters on one device, by arithmetic.

Weights, gradients and the optimizer's state are counted exactly; what the layers keep for the
backward pass follows from the checkpoint policy of `Transformer.hidden`; what is alive within one
layer, at the logits and in the optimizer is a number of arrays with which XLA's reports agree (see
`plan.search`).
"""

import jax
import numpy as np

from expert_iter.learn.learner import LearnerConfig, TrainState
from expert_iter.learn.token_log_probs import AT_ONCE, CHUNK
from expert_iter.model.parameters import TABLE, parameter_at
from expert_iter.model.transformer import Network
from expert_iter.model.transformer_config import TransformerConfig
from expert_iter.plan.parts import Part, held_bytes, whole_bytes
from expert_iter.pod.mesh import FSDP, TENSOR, Layout

_FLOAT = 4
_MATRICES = sum(parameter.is_matrix for parameter in TABLE.values())  # of a layer
_LOGITS = 2  # [tokens, vocabulary], or a chunk of it, alive at once: softmax and gradient
_CHUNKS_ON_CPU = 3  # of logits, alive at once
_HEADS = 2  # the output head, put together, and its gradient
_SCORES = 3  # [heads, tokens, tokens] alive at once
_INSIDE = 7  # [tokens, MLP's inside] alive at once: gate, up, their product, and their gradients
_STREAM = 3  # [tokens, width] alive at once
_ORTHOGONAL = 1.5  # matrices, of all layers, alive at once while Muon orthogonalises one
_TOGETHER = 2.2  # times all matrices, where they are sharded (within 10%; 12% if along both axes)


def update_parts(
    network: Network,
    layout: Layout,
    config: LearnerConfig,
    state: TrainState,
    muon: bool,
    on_cpu: bool = False,
) -> list[Part]:
    """What an update holds on one device.

    state: abstract (`Learner.abstract_state`); on_cpu: as XLA's buffers are on CPUs.
    """
    c, shape = network.config, layout.mesh.shape
    number = np.dtype(c.dtype).itemsize
    tensor = _Cut(shape[TENSOR])
    tokens = config.rows // layout.row_shards * config.row_tokens
    inside, vocabulary = tensor(c.mlp_width), tensor(network.vocab_size)

    held = lambda tree: held_bytes(tree, layout.learning(tree))  # noqa: E731
    gradients = held(state.trained)
    kept = tokens * c.num_layers * number * _kept_numbers(c, tensor)
    logits = tokens * vocabulary * _FLOAT
    heads = _HEADS
    chunks = _CHUNKS_ON_CPU * CHUNK if logits > AT_ONCE else _LOGITS * logits
    if logits > AT_ONCE:
        logits, heads = CHUNK, 1 / shape[FSDP]  # the gradient's part alone; chunks of the head
    at_logits = _LOGITS * logits + heads * vocabulary * c.width * _FLOAT
    # A layer's weights, copied out of the stack; put together along `fsdp`, as their gradients are.
    layer = shape[FSDP] * held({"blocks": state.params["blocks"]}) / c.num_layers
    at_layer = (
        layer * (2 if shape[FSDP] > 1 else 1)
        + _STREAM * tokens * c.width * number
        + max(
            _INSIDE * tokens * inside * number,
            _SCORES * tokens * config.row_tokens * tensor(c.num_heads) * _FLOAT,
        )
    )
    # The gradients stay beside the clipped ones, for their norm is reported.
    at_update = gradients + (_orthogonalising(state, layout) if muon else 0)
    # By the TPU's compiler they are there twice where layers compute in smaller numbers.
    in_layers = gradients * (2 if number < np.dtype(c.param_dtype).itemsize else 1)
    peak = max(kept + at_logits, kept + in_layers + at_layer, gradients + at_update)
    if on_cpu:  # memory for the layers' gradients is there before the backward pass reaches them
        peak = max(peak, kept + gradients + chunks)
    kept = min(kept, peak - gradients)
    return [
        Part("parameters", held(state.params)),
        Part("optimizer", held(state.optimizer) + held(state.averaged)),
        Part("gradients", gradients),
        Part("kept for the backward pass", kept),
        Part("at the fullest moment", peak - gradients - kept),
    ]


class _Cut(int):
    """Into how many parts sizes are sharded, if they can be."""

    def __call__(self, size: int) -> int:
        return size if size % self else size // self


def _kept_numbers(c: TransformerConfig, tensor: _Cut) -> int:
    """Of a token in a layer: the stream that enters it, and the products with matrices that the
    backward pass needs. With adapters a product is two terms. Of the stream a device keeps its
    share of the tokens.
    """
    heads = tensor(c.num_heads * c.head_dim) + 2 * tensor(c.num_kv_heads * c.head_dim)
    stream = c.width / tensor
    products = heads + 2 * tensor(c.mlp_width) + stream * (1 + c.post_norms)
    return stream + products + (products + _MATRICES * c.lora_rank if c.lora_rank else 0)


def _orthogonalising(state: TrainState, layout: Layout) -> float:
    """Muon works on whole matrices: where they are sharded, XLA gathers those of all layers (see
    `_TOGETHER`).
    """
    named = jax.tree_util.tree_leaves_with_path(state.trained)
    matrices = [leaf for path, leaf in named if parameter_at(path).is_matrix]
    fsdp, tensor = layout.mesh.shape[FSDP], layout.mesh.shape[TENSOR]
    if fsdp * tensor > 1:
        return _TOGETHER * whole_bytes(matrices) / tensor
    return _ORTHOGONAL * max(map(whole_bytes, matrices), default=0)
