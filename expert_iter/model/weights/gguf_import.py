"""A GGUF file as a directory in the Hugging Face layout."""

import json
from pathlib import Path

from expert_iter.errors import UserError
from expert_iter.model.tokenizers.load_tokenizer import load_tokenizer
from expert_iter.model.transformer_config import TransformerConfig
from expert_iter.model.weights.export import SHARD_BYTES, new_directory, require_free, write_tensors
from expert_iter.model.weights.family_configs import to_theirs
from expert_iter.model.weights.gguf_config import EMBEDDING, family_of, transformer_config
from expert_iter.model.weights.gguf_file import GgufFile
from expert_iter.model.weights.gguf_tensors import tensors
from expert_iter.model.weights.gguf_tokenizer import token_keys, write_tokenizer
from expert_iter.model.weights.pretrained import CONFIG


def import_gguf(path: str | Path, directory: str | Path, dtype: str) -> TransformerConfig:
    """Writes config.json, the tensors, and the tokenizer's files with its special tokens and chat
    template. The directory appears whole or not at all.

    Args:
      path: of the GGUF file.
      directory: must not exist, or be empty.
      dtype: of the tensors, 'float32' or 'bfloat16'.

    Returns:
      The network's config.

    Raises:
      UserError: the directory holds something, the file is damaged, or it asks for what we do not
        have.
    """
    require_free(Path(directory))  # before reading gigabytes
    file = GgufFile(path)
    family, config = family_of(file), transformer_config(file, dtype)
    arrays = tensors(file, config)
    extra = token_keys(file) | {"max_position_embeddings": file.own("context_length", int)}
    their = to_theirs(family, config, file.shapes[EMBEDDING][0], extra)
    with new_directory(directory) as partial:
        (partial / CONFIG).write_text(json.dumps(their, indent=2) + "\n", encoding="utf-8")
        write_tokenizer(file, partial)
        try:
            load_tokenizer(partial)
        except UserError as error:
            raise UserError(f"{path}: {str(error).replace(f'{partial}/', '')}") from error
        write_tensors(partial, arrays, SHARD_BYTES)
    return config
