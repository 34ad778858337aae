"""Parameters as a directory in the Hugging Face layout, which transformers loads."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

from expert_iter.errors import UserError
from expert_iter.model.parameters import TABLE, is_head, is_stacked, named
from expert_iter.model.transformer_config import TransformerConfig
from expert_iter.model.weights import family_configs
from expert_iter.model.weights.families import FAMILIES, Family
from expert_iter.model.weights.pretrained import CONFIG, SCALAR_HEADS
from expert_iter.model.weights.tensor_files import INDEX, WEIGHTS

SHARD_BYTES = 4 * 2**30


def export(
    params: dict,
    config: TransformerConfig,
    vocab_size: int,
    directory: str | Path,
    family: str = "",
    extra: Mapping[str, Any] | None = None,
    files: Iterable[str | Path] = (),
    shard_bytes: int = SHARD_BYTES,
) -> str:
    """Writes config.json, the tensors in `config.param_dtype`, and the scalar heads, which no
    family has, in float32 in a file of their own. The directory appears whole or not at all.

    Args:
      params: the parameters of `Network(config, vocab_size, heads)`.
      directory: must not exist, or be empty.
      family: a name in `FAMILIES`; '': the first that has the network's options.
      extra: further keys of config.json, such as eos_token_id or max_position_embeddings.
      files: the tokenizer's, copied.
      shard_bytes: tensors are written in several files if they are more than this; so much is held
        in memory.

    Returns:
      The family's name.

    Raises:
      UserError: the directory holds something, or the line names an option that the family has not.
    """
    chosen = _family(family, config)
    their = family_configs.to_theirs(chosen, config, vocab_size, extra or {})
    with new_directory(directory) as partial:
        (partial / CONFIG).write_text(json.dumps(their, indent=2) + "\n", encoding="utf-8")
        dtype = jnp.dtype(config.param_dtype)
        write_tensors(partial, _tensors(params, chosen.name, dtype), shard_bytes)
        heads = {n: np.asarray(x, np.float32) for n, x in params.items() if is_head(n)}
        save_file(heads, partial / SCALAR_HEADS)
        for file in files:
            shutil.copy(file, partial)
    return chosen.name


@contextlib.contextmanager
def new_directory(directory: str | Path) -> Iterator[Path]:
    """A directory to write into, which becomes `directory` at the end; nothing is left on errors.

    Raises UserError unless `directory` is new, or empty, and can be written.
    """
    directory = Path(directory).absolute()
    require_free(directory)
    partial = directory.with_name(f"{directory.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        if directory.exists():
            directory.rmdir()
        os.replace(partial, directory)
    except OSError as error:
        raise UserError(f"{directory} cannot be written: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def require_free(directory: Path) -> None:
    """Raises UserError unless the directory is new, or empty."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UserError(f"{directory} exists already: name another directory to export to")


def _family(name: str, config: TransformerConfig) -> Family:
    if not name:
        # The one that lacks nothing. Else the one that lacks least, and an error names what.
        return min(FAMILIES.values(), key=lambda f: len(family_configs.lacks(f, config)))
    if name not in FAMILIES:
        raise UserError(f"there is no family {name!r}; there are {', '.join(FAMILIES)}")
    return FAMILIES[name]


def _tensors(params: dict, family: str, dtype) -> Iterator[tuple[str, np.ndarray]]:
    """The family's tensors one after the other, layer by layer."""
    by_name = {name: x for name, x in named(params).items() if not is_head(name)}
    stacked = [name for name in by_name if is_stacked(name)]

    def tensor(name, array, layer=None):
        parameter = TABLE[name]
        array = np.asarray(array).astype(dtype)
        array = np.ascontiguousarray(array.T if parameter.is_matrix else array)
        return parameter.tensor_name(family).format(layer), array

    for name in by_name:
        if name not in stacked:
            yield tensor(name, by_name[name])
    for layer in range(len(by_name[stacked[0]])):
        for name in stacked:
            yield tensor(name, by_name[name][layer], layer)


def write_tensors(directory: Path, tensors: Iterable[tuple[str, np.ndarray]], most: int) -> None:
    """As `model.safetensors`, or as numbered files of at most `most` bytes and an index."""
    shards, where, total = [], {}, 0
    shard: dict[str, np.ndarray] = {}

    def write():
        shards.append(directory / f"shard-{len(shards)}")
        save_file(shard, shards[-1], metadata={"format": "pt"})
        where.update(dict.fromkeys(shard, len(shards)))
        shard.clear()

    for name, array in tensors:
        if shard and sum(x.nbytes for x in shard.values()) + array.nbytes > most:
            write()
        shard[name] = array
        total += array.nbytes
    write()
    if len(shards) == 1:
        shards[0].rename(directory / WEIGHTS)
        return
    files = [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    for shard_file, name in zip(shards, files, strict=True):
        shard_file.rename(directory / name)
    index = {
        "metadata": {"total_size": total},
        "weight_map": {name: files[number - 1] for name, number in where.items()},
    }
    (directory / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
