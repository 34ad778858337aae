"""Which of the tokenizers a file is."""

import os

from etils import epath

from expert_iter.errors import UserError
from expert_iter.model.tokenizers.bpe import BytePairTokenizer
from expert_iter.model.tokenizers.sentencepiece_model import TIKTOKEN_LINE, SentencePieceTokenizer
from expert_iter.model.tokenizers.tokenizer import TextTokenizer, read_model


def load_tokenizer(path: str | os.PathLike) -> TextTokenizer:
    """The tokenizer of a SentencePiece `.model`, a `tokenizer.json`, or a checkpoint's folder with
    one of them (where there are both, `tokenizer.model`, unless it is in tiktoken's format).

    Raises UserError if there is none, or it cannot be used.
    """
    path = epath.Path(path).expanduser()
    if path.is_dir():
        model, bpe = path / "tokenizer.model", path / "tokenizer.json"
        if not model.exists() and not bpe.exists():
            raise UserError(f"{path} holds neither a tokenizer.model nor a tokenizer.json")
        tiktoken = model.exists() and TIKTOKEN_LINE.match(read_model(model))
        path = bpe if bpe.exists() and (tiktoken or not model.exists()) else model
    if path.suffix == ".json":
        return BytePairTokenizer.load(path)
    return SentencePieceTokenizer.load(path)
