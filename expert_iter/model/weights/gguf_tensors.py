"""The tensors of a GGUF file by their names in a Hugging Face directory."""

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from expert_iter.errors import UserError
from expert_iter.model.parameters import TABLE, is_head, is_stacked, named
from expert_iter.model.transformer import Network
from expert_iter.model.transformer_config import TransformerConfig
from expert_iter.model.weights.gguf_config import EMBEDDING, ROPE_FACTORS, family_of
from expert_iter.model.weights.gguf_file import GgufFile

_NAMED = 4  # wrong tensors that an error names


def tensors(file: GgufFile, config: TransformerConfig) -> Iterator[tuple[str, np.ndarray]]:
    """Their names and values one after the other, in `config.param_dtype`.

    Raises UserError, before the first, where the file's tensors are not those of the network.
    """
    import gguf

    family, heads = family_of(file), {"q": config.num_heads, "k": config.num_kv_heads}
    dtype = jnp.dtype(config.param_dtype)
    architectures = {name: number for number, name in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(architectures[file.architecture], config.num_layers)
    vocab_size = file.shapes.get(EMBEDDING, (1,))[0]
    made, wanted = {}, {}
    for parameter, leaf in named(Network(config, vocab_size).abstract_params()).items():
        if is_head(parameter):
            continue
        shape = leaf.shape[1:] if is_stacked(parameter) else leaf.shape
        shape = shape[::-1] if TABLE[parameter].is_matrix else shape
        for layer in range(config.num_layers if is_stacked(parameter) else 1):
            their = TABLE[parameter].tensor_name(family.name).format(layer)
            name = names.get_name(their, (".weight", ".bias"))
            made[name], wanted[name] = (parameter, their), shape
    _check(file, wanted)

    def one(name: str) -> tuple[str, np.ndarray]:
        parameter, their = made[name]
        array = file.tensor(name)
        last = parameter.rpartition(".")[2]
        if file.architecture == "llama" and last in heads:
            array = _halves(array, heads[last])
        if config.norm_plus_one and last == "scale":
            array = array - 1
        return their, np.ascontiguousarray(array.astype(dtype))

    return map(one, made)


def _check(file: GgufFile, wanted: dict[str, tuple[int, ...]]) -> None:
    wrong = [f"{name} is missing" for name in wanted if name not in file.shapes]
    for name, shape in file.shapes.items():
        if name in wanted and shape != wanted[name]:
            wrong.append(f"{name} has the shape {list(shape)}, not {list(wanted[name])}")
        elif name not in wanted and name != ROPE_FACTORS:
            wrong.append(f"{name} is surplus")
    if wrong:
        more = f"; and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        raise UserError(f"{file.path}: tensors do not fit: {'; '.join(wrong[:_NAMED])}{more}")


def _halves(array: np.ndarray, heads: int) -> np.ndarray:
    """Rows of queries or keys in the order of Hugging Face's files.

    There, rotary positions turn number i of a head with number i + E / 2. For the architecture
    llama, llama.cpp writes such a pair side by side.
    """
    pairs = array.reshape(heads, -1, 2, *array.shape[1:])
    return pairs.swapaxes(1, 2).reshape(array.shape)
