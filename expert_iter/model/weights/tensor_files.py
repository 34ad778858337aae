"""The tensor files of a checkpoint directory: `model.safetensors`, or several files that
`model.safetensors.index.json` lists. Opening reads names, shapes and types; tensors are read in
blocks.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors

from expert_iter.errors import UserError
from expert_iter.model.json_file import read_json

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
BLOCK_BYTES = 8 * 2**20

# Where a file keeps the language model: in a model with a head, with images too (Gemma 3), or, as
# AutoModel saves it, at the top.
_PLACES = ("language_model.model.", "model.language_model.", "language_model.", "model.", "")
# What sees images. Files made by old releases of transformers hold the rotary frequencies.
_NOT_READ = re.compile(r"(model\.)?(vision_tower|multi_modal_projector)\.|.*rotary_emb\.inv_freq$")


class Stored(NamedTuple):
    """A tensor in a file; nothing of it is read yet."""

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: str

    def read(self, *index: slice) -> np.ndarray:
        # Opened for each block: a file's pages would stay in memory as long as it is mapped.
        with safetensors.safe_open(self.file, "np") as tensors:
            return tensors.get_slice(self.name)[index]


def row_blocks(tensor: Stored, end: int, begin: int = 0) -> Iterator[slice]:
    """Ranges of rows of at most BLOCK_BYTES each (one row at least)."""
    row_bytes = 4 * max(1, int(np.prod(tensor.shape[1:])))
    step = max(1, BLOCK_BYTES // row_bytes)
    for first in range(begin, end, step):
        yield slice(first, min(first + step, end))


def language_tensors(directory: Path) -> dict[str, Stored]:
    """Every tensor of the language model, by the name it has in a model of text with a head.

    Raises UserError if a file is missing or damaged, or one tensor is there by two names.
    """
    stored = {}
    for tensor in (tensor for file in _files(directory) for tensor in headers(file).values()):
        if _NOT_READ.match(tensor.name):
            continue
        name = _plain(tensor.name)
        if name in stored and stored[name].name != tensor.name:
            raise UserError(
                f"{directory} holds one tensor by two names, {stored[name].name} and "
                f"{tensor.name}: remove one of them"
            )
        stored[name] = tensor
    return stored


def _files(directory: Path) -> list[Path]:
    if (directory / WEIGHTS).exists():
        return [directory / WEIGHTS]
    if not (directory / INDEX).exists():
        raise UserError(f"{directory} holds neither {WEIGHTS} nor {INDEX}")
    where = read_json(directory / INDEX).get("weight_map")
    if not isinstance(where, dict) or not all(isinstance(f, str) for f in where.values()):
        raise UserError(f"{directory / INDEX} must say in weight_map where each tensor is")
    return [directory / name for name in sorted(set(where.values()))]


def _plain(name: str) -> str:
    """The name in a model of text with a head."""
    place = next(place for place in _PLACES if name.startswith(place))
    inner = name.removeprefix(place)
    return inner if inner.startswith("lm_head.") else f"model.{inner}"


def headers(file: Path) -> dict[str, Stored]:
    try:
        with safetensors.safe_open(file, "np") as tensors:
            parts = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118
            return {
                name: Stored(file, name, tuple(part.get_shape()), part.get_dtype())
                for name, part in parts.items()
            }
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error}") from error
    except safetensors.SafetensorError as error:
        raise UserError(f"{file} is damaged: {error}") from error
