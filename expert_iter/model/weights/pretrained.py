"""Starting from published weights: a directory in the Hugging Face layout into our parameters.

Tensors are read in blocks of a few megabytes, each written at once to its place on its device: the
host holds no whole tensor.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
from jax.sharding import Sharding, SingleDeviceSharding

from expert_iter.errors import UserError
from expert_iter.model.json_file import read_json
from expert_iter.model.parameters import TABLE, head_names, is_head, is_stacked, named, nested
from expert_iter.model.transformer import Network
from expert_iter.model.transformer_config import TransformerConfig
from expert_iter.model.weights import family_configs
from expert_iter.model.weights.tensor_files import Stored, headers, language_tensors, row_blocks
from expert_iter.range_checks import Checks

CONFIG = "config.json"
SCALAR_HEADS = "value_head.safetensors"  # no family has them; export writes it
_FLOATS = ("F32", "BF16", "F16")
_NAMED = 4  # wrong tensors that an error names


@dataclasses.dataclass(frozen=True)
class PretrainedConfig:
    """Published weights to start from. They fill in `vocab_size` and the section `model`, except
    its types and adapters.

    Attributes:
      directory: a checkpoint in the Hugging Face layout. Its tokenizer is used too, unless
        `tokenizer.model_file` names another. Empty: random weights.
      vocab_size: rows of its embedding; filled in.
    """

    directory: str = ""
    vocab_size: int = 0

    def __post_init__(self):
        Checks("pretrained", self).not_negative("vocab_size")


def transformer_config(
    directory: str | Path, dtype: str = "bfloat16", param_dtype: str = "float32"
) -> TransformerConfig:
    """The network that the checkpoint in `directory` is for.

    Raises:
      UserError: config.json is missing or damaged, or asks for what we do not have; the line names
        it.
    """
    return _of_config(directory, lambda their: family_configs.to_ours(their, dtype, param_dtype))


def vocab_size(directory: str | Path) -> int:
    """Rows of the checkpoint's embedding: often more than its tokenizer has pieces."""
    return _of_config(directory, family_configs.vocab_size_of)


def family_name(directory: str | Path) -> str:
    """What `export` calls the checkpoint's family."""
    return _of_config(directory, lambda their: family_configs.family_of(their).name)


def load_params(directory: str | Path, network: Network, sharding: Any = None) -> dict:
    """The checkpoint's parameters.

    Scalar heads are read from `value_head.safetensors`, which `export` writes. One that is not
    there is zero as in `Network.init`.

    Args:
      directory: the checkpoint.
      network: made with `transformer_config(directory)` (any dtypes) and `vocab_size(directory)`.
      sharding: where the parameters go: one for all, or a tree of them like the parameters. None:
        all to the first device.

    Raises:
      UserError: a tensor is missing, surplus or of another shape, a file cannot be read, or the
        network is another than the checkpoint's.
    """
    directory, c = Path(directory), network.config
    own = transformer_config(directory, c.dtype, c.param_dtype)
    for key in family_configs.differences(c, own):
        raise UserError(
            f"model.{key} is {getattr(c, key)!r}, but {directory / CONFIG} says "
            f"{getattr(own, key)!r}"
        )
    family = _of_config(directory, family_configs.family_of)
    shapes = named(network.abstract_params())
    sources = _tensors(directory, shapes, family.name, c.num_layers) | _heads(directory, shapes)
    if sharding is None:
        sharding = SingleDeviceSharding(jax.devices()[0])
    one = isinstance(sharding, Sharding)
    shardings = dict.fromkeys(shapes, sharding) if one else named(sharding)
    try:
        return nested(
            {name: _load(name, x, sources[name], shardings[name]) for name, x in shapes.items()}
        )
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"{directory}: a file of weights cannot be read: {error}") from error


def _of_config(directory: str | Path, use: Callable[[dict], Any]) -> Any:
    path = Path(directory, CONFIG)
    their = read_json(path)
    try:
        return use(family_configs.text_part(their))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _tensors(
    directory: Path, shapes: dict, family: str, num_layers: int
) -> dict[str, list[Stored]]:
    """The stored tensors that make up each parameter but the scalar heads, one a layer if it is
    stacked. Checks names, shapes and types of all of them.
    """
    stored, wanted = language_tensors(directory), {}
    embedding, head = (TABLE[name].tensor_name(family) for name in ("embedding", "head"))
    if "head" not in shapes and embedding in stored and head in stored:
        _check_tied(directory, stored[embedding], stored.pop(head))
    for name, leaf in shapes.items():
        if is_head(name):
            continue
        tensor, layers = TABLE[name].tensor_name(family), num_layers if is_stacked(name) else 1
        shape = leaf.shape[1:] if is_stacked(name) else leaf.shape
        shape = shape[::-1] if TABLE[name].is_matrix else shape
        wanted[name] = {tensor.format(layer): shape for layer in range(layers)}
    expected = {name: shape for group in wanted.values() for name, shape in group.items()}
    wrong = [f"{name} is missing" for name in expected if name not in stored]
    wrong += [f"{stored[name].name} is surplus" for name in stored if name not in expected]
    for name in [name for name in expected if name in stored]:
        _, own, shape, dtype = stored[name]
        if shape != expected[name]:
            wrong.append(f"{own} has the shape {list(shape)}, not {list(expected[name])}")
        elif dtype not in _FLOATS:
            wrong.append(f"{own} is of type {dtype}, not one of {', '.join(_FLOATS)}")
    if wrong:
        more = f"; and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        raise UserError(f"{directory}: tensors do not fit: {'; '.join(wrong[:_NAMED])}{more}")
    return {name: [stored[tensor] for tensor in group] for name, group in wanted.items()}


def _heads(directory: Path, shapes: dict) -> dict[str, list[Stored]]:
    """The stored tensors of scalar heads; none for one that the weights were not trained with."""
    path, sources = directory / SCALAR_HEADS, {name: [] for name in shapes if is_head(name)}
    if not path.exists():
        return sources
    stored = headers(path)
    for name in sources:
        if name in stored:
            sources[name] = [stored[name]]
            if stored[name].shape != (shape := shapes[name].shape):
                raise UserError(f"{path}: {name} must be {list(shape)}")
        elif name in head_names("value"):
            raise UserError(f"{path}: {name} is missing")
    return sources


def _check_tied(directory: Path, embedding: Stored, head: Stored) -> None:
    """A head that is stored although it is the embedding must be equal to it."""
    same = embedding.shape == head.shape and embedding.dtype == head.dtype
    if not same or not all(
        np.array_equal(embedding.read(rows), head.read(rows))
        for rows in row_blocks(head, head.shape[0])
    ):
        raise UserError(
            f"{directory}: {head.name} differs from the embedding, to which {CONFIG} ties it"
        )


def _load(
    name: str, leaf: jax.ShapeDtypeStruct, sources: list[Stored], sharding: Sharding
) -> jax.Array:
    """One parameter, put together on its devices; zeros where there is nothing to read."""
    shards, made = [], {}
    transposed = name in TABLE and TABLE[name].is_matrix
    for device, index in sharding.addressable_devices_indices_map(leaf.shape).items():
        bounds = tuple(s.indices(n)[:2] for s, n in zip(index, leaf.shape, strict=True))
        if bounds not in made:
            made[bounds] = _shard(bounds, leaf.dtype, sources, transposed, device)
        shards.append(jax.device_put(made[bounds], device))
    return jax.make_array_from_single_device_arrays(leaf.shape, sharding, shards)


def _shard(bounds, dtype, sources: list[Stored], transposed: bool, device) -> jax.Array:
    """The part of a parameter within `bounds` (begin and end of each dimension), on a device."""
    array = jnp.zeros([end - begin for begin, end in bounds], dtype, device=device)
    if not sources:
        return array
    stacked = len(bounds) > len(sources[0].shape)
    layers = range(*bounds[0]) if stacked else range(1)
    own = bounds[1:] if stacked else bounds
    own = own[::-1] if transposed else own
    for layer, source in enumerate(sources[i] for i in layers):
        if not own:
            return jax.device_put(jnp.asarray(source.read(), dtype), device)
        for rows in row_blocks(source, own[0][1], own[0][0]):
            piece = source.read(rows, *(slice(*bound) for bound in own[1:]))
            at = [rows.start - own[0][0]] + [0] * (len(own) - 1)
            start = [layer] * stacked + (at[::-1] if transposed else at)
            # Waiting keeps one block alive at a time.
            array = _write(array, jax.device_put(piece, device), start, transposed)
            array.block_until_ready()
    return array


@functools.partial(jax.jit, static_argnames="transposed", donate_argnums=0)
def _write(array, piece, start, transposed: bool):
    piece = (piece.T if transposed else piece).astype(array.dtype)
    piece = piece.reshape((1,) * (array.ndim - piece.ndim) + piece.shape)
    return jax.lax.dynamic_update_slice(array, piece, start)
