"""GGUF files, llama.cpp's format: typed metadata, and tensors that are dequantised one by one."""

from pathlib import Path
from typing import Any

import numpy as np

from expert_iter.errors import UserError

# Types that the package gguf dequantises.
TYPES = (
    *("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"),
    *("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S"),
    *("IQ1_S", "IQ1_M", "IQ4_NL", "IQ4_XS", "TQ1_0", "TQ2_0", "MXFP4"),
)
_REQUIRED = object()


class GgufFile:
    """Metadata and tensors of one file.

    Raises UserError, naming the file, where it cannot be read or lacks what is asked for.

    Attributes:
      path: of the file.
      architecture: str. What the file calls the family.
      shapes: name -> shape of each tensor, rows first.
    """

    def __init__(self, path: str | Path):
        try:
            import gguf
        except ImportError:
            raise UserError(
                f"{path} needs the package gguf: pip install 'expert_iter[gguf]'"
            ) from None
        self.path = path = Path(path)
        try:
            with path.open("rb") as file:
                magic = file.read(4)
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
        if magic != b"GGUF":
            raise UserError(f"{path} is no GGUF file")
        self._dequantize = gguf.quants.dequantize
        try:
            reader = gguf.GGUFReader(path)
            self._metadata = {key: field.contents() for key, field in reader.fields.items()}
        except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
            if gguf.GGMLQuantizationType.__name__ in str(error):  # of a newer llama.cpp
                raise _unknown_type(path, f"a tensor is of an unknown type ({error})") from None
            raise UserError(
                f"{path} is cut off, damaged or of an unknown version: {error}"
            ) from None
        self._tensors = {tensor.name: tensor for tensor in reader.tensors}
        for name, tensor in self._tensors.items():
            if tensor.tensor_type.name not in TYPES:
                what = f"{name} is of the type {tensor.tensor_type.name}"
                raise _unknown_type(path, f"{what}, which is not supported")
        self.shapes = {name: tuple(x.shape.tolist()[::-1]) for name, x in self._tensors.items()}
        self.architecture = self.value("general.architecture", str)
        if self.value("split.count", int, 1) > 1:
            raise UserError(
                f"{path} is one of several parts: merge them (gguf-split --merge) first"
            )

    def value(self, key: str, kind: type, default: Any = _REQUIRED) -> Any:
        """The metadata of a key, which is a `kind`: int, float, bool, str or list."""
        value = self._metadata.get(key, default)
        if value is default and default is not _REQUIRED:
            return default
        if value is _REQUIRED:
            raise UserError(f"{self.path} does not say {key}")
        if kind is float and type(value) is float:
            return float(str(np.float32(value)))  # 1e-05, not 9.999999747378752e-06
        if type(value) is not kind:
            raise UserError(
                f"{self.path}: {key} must be of type {kind.__name__}, got {value!r:.60}"
            )
        return value

    def own(self, key: str, kind: type, default: Any = _REQUIRED) -> Any:
        """`value` of a key that begins with the architecture's name."""
        return self.value(f"{self.architecture}.{key}", kind, default)

    def tensor(self, name: str) -> np.ndarray:
        """A tensor in float32."""
        tensor = self._tensors[name]
        array = self._dequantize(tensor.data, tensor.tensor_type)
        return np.asarray(array, np.float32).reshape(self.shapes[name])


def _unknown_type(path: Path, what: str) -> UserError:
    return UserError(f"{path}: {what}; there are {', '.join(TYPES)}")
