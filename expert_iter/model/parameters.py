"""The network's parameters, in one table.

A parameter's name is its path in the tree of parameters, with dots. Those below `blocks` are
stacked: their first dimension is the layer. Two kinds of parameters are not in the table but follow
a rule each: the scalar heads, `<head>_weight` and `<head>_bias`, and the low-rank adapters,
`<matrix>_lora.a` and `<matrix>_lora.b`.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
from flax import traverse_util

VOCAB, WIDTH, HEADS, MLP = "vocab", "width", "heads", "mlp"  # logical axes
ADAPTER = "_lora"
_HEAD_WEIGHT, _HEAD_BIAS = "_weight", "_bias"


class Parameter(NamedTuple):
    """What is done with a parameter.

    Attributes:
      axes: logical axis of each dimension, without that of the layers. () for a parameter that
        every device holds whole.
      is_matrix: bool. A linear map [inputs, outputs] of a layer: Muon orthogonalises it, an adapter
        may stand beside it, and published files hold its transpose.
      is_decayed: bool. AdamW decays it.
      published: its tensor in published files, `{}` for the number of the layer. '' if no family
        has it.
      exceptions: names of the tensor in families where it is not `published`, by `model_type`.
    """

    axes: tuple[str, ...] = ()
    is_matrix: bool = False
    is_decayed: bool = False
    published: str = ""
    exceptions: Mapping[str, str] = MappingProxyType({})

    def tensor_name(self, family: str) -> str:
        """The tensor in files of this family, `{}` for the number of the layer."""
        return self.exceptions.get(family, self.published)


def _embedding(published: str) -> Parameter:
    return Parameter((VOCAB, WIDTH), is_decayed=True, published=published)


def _matrix(inputs: str, outputs: str, published: str) -> Parameter:
    return Parameter((inputs, outputs), is_matrix=True, is_decayed=True, published=published)


def _vector(published: str, *axes: str, **exceptions: str) -> Parameter:
    return Parameter(axes, published=published, exceptions=exceptions)


_LAYER = "model.layers.{}."
_ATTENTION, _MLP = _LAYER + "self_attn.", _LAYER + "mlp."
_BEFORE_MLP = _LAYER + "pre_feedforward_layernorm.weight"  # in families that normalise outputs too

# Heads and the inside of the MLP are the axes of Megatron's tensor parallelism (Shoeybi et al.
# 2019). Which of these a network has, its config says; names are those of the library transformers.
TABLE = {
    "embedding": _embedding("model.embed_tokens.weight"),
    "head": _embedding("lm_head.weight"),
    "final_norm.scale": _vector("model.norm.weight"),
    "blocks.attention_norm.scale": _vector(_LAYER + "input_layernorm.weight"),
    "blocks.attention.q": _matrix(WIDTH, HEADS, _ATTENTION + "q_proj.weight"),
    "blocks.attention.k": _matrix(WIDTH, HEADS, _ATTENTION + "k_proj.weight"),
    "blocks.attention.v": _matrix(WIDTH, HEADS, _ATTENTION + "v_proj.weight"),
    "blocks.attention.out": _matrix(HEADS, WIDTH, _ATTENTION + "o_proj.weight"),
    "blocks.attention.q_bias": _vector(_ATTENTION + "q_proj.bias", HEADS),
    "blocks.attention.k_bias": _vector(_ATTENTION + "k_proj.bias", HEADS),
    "blocks.attention.v_bias": _vector(_ATTENTION + "v_proj.bias", HEADS),
    "blocks.attention.q_norm.scale": _vector(_ATTENTION + "q_norm.weight"),
    "blocks.attention.k_norm.scale": _vector(_ATTENTION + "k_norm.weight"),
    "blocks.post_attention_norm.scale": _vector(_LAYER + "post_attention_layernorm.weight"),
    "blocks.mlp_norm.scale": _vector(
        _LAYER + "post_attention_layernorm.weight", gemma2=_BEFORE_MLP, gemma3_text=_BEFORE_MLP
    ),
    "blocks.gate": _matrix(WIDTH, MLP, _MLP + "gate_proj.weight"),
    "blocks.up": _matrix(WIDTH, MLP, _MLP + "up_proj.weight"),
    "blocks.down": _matrix(MLP, WIDTH, _MLP + "down_proj.weight"),
    "blocks.post_mlp_norm.scale": _vector(_LAYER + "post_feedforward_layernorm.weight"),
}
_OF_HEAD = Parameter()
_OF_ADAPTER = Parameter(is_decayed=True)


def is_stacked(name: str) -> bool:
    """Whether a parameter's first dimension is the layer."""
    return name.startswith("blocks.")


def is_head(name: str) -> bool:
    """Whether a parameter belongs to a scalar head."""
    return "." not in name and name.endswith((_HEAD_WEIGHT, _HEAD_BIAS))


def head_names(head: str) -> tuple[str, str]:
    """The names of a scalar head's weight `[D]` and bias `[]`."""
    return head + _HEAD_WEIGHT, head + _HEAD_BIAS


def is_adapter(name: str) -> bool:
    """Whether a parameter belongs to a low-rank adapter."""
    return any(part.endswith(ADAPTER) for part in name.split("."))


def matrices(module: str) -> list[str]:
    """The last parts of the names of a module's matrices, such as `blocks.attention`."""
    names = [name.rpartition(".") for name, parameter in TABLE.items() if parameter.is_matrix]
    return [last for of, _, last in names if of == module]


def parameter(name: str) -> Parameter | None:
    """The parameter of this name; None if no network has one."""
    if is_adapter(name):
        return _OF_ADAPTER
    return TABLE.get(name, _OF_HEAD if is_head(name) else None)


def parameter_at(path: Sequence[Any]) -> Parameter | None:
    """The parameter at a JAX key path, in parameters or in an optimizer's state with trees like
    them. None for arrays of the state that are not in dicts, such as a count of updates.

    Raises KeyError for an array in a dict whose name is no parameter's.
    """
    if not path or not isinstance(path[-1], jax.tree_util.DictKey):
        return None
    keys = [key.key for key in path if isinstance(key, jax.tree_util.DictKey)]
    for start in range(len(keys)):
        if found := parameter(".".join(keys[start:])):
            return found
    raise KeyError(f"no parameter has the name {jax.tree_util.keystr(path)}")


def named(params: Mapping[str, Any]) -> dict[str, Any]:
    """A tree of parameters, or one like it, as a flat dict by names, in the order of its leaves."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def nested(params: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `named`."""
    return traverse_util.unflatten_dict(dict(params), sep=".")
