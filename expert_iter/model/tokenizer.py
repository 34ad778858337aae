"""Text to token ids and back, by SentencePiece, with nothing lost on the way."""

import dataclasses
import io
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import sentencepiece as spm

from expert_iter.errors import UserError

# SentencePiece's own mark for a blank. A text that holds this very character would come back with a
# blank in its place, so such a text is refused.
_BLANK = "\N{LOWER ONE EIGHTH BLOCK}"
_CONTROLS = ("<pad>", "<s>", "</s>", "<unk>")
_BYTES = 256


@dataclasses.dataclass(frozen=True)
class TokenizerConfig:
    """How a run gets its tokenizer.

    Attributes:
      model_file: a SentencePiece `.model` to use as it is; empty: train one on the task's texts.
      vocab_size: pieces in all. 0: no pieces are learned, there are only the task's symbols and the
        single characters of its texts (made for arithmetic, where a symbol is a whole number).
      byte_fallback: 256 more pieces, one a byte, so that every text can be written (for prose).
    """

    model_file: str = ""
    vocab_size: int = 0
    byte_fallback: bool = False

    def __post_init__(self):
        least = 1 + len(_CONTROLS) + _BYTES * self.byte_fallback
        if self.vocab_size != 0 and self.vocab_size < least:
            raise UserError(
                f"tokenizer.vocab_size={self.vocab_size} is out of range: use 0 (the task's "
                f"symbols and single characters) or at least {least}"
            )


class TokenIds(NamedTuple):
    """Ids of the pieces that the program itself must know."""

    pad: int
    bos: int
    eos: int
    newline: int


class Tokenizer:
    """A SentencePiece model: `decode(encode(text)) == text` for each text that `encode` accepts."""

    def __init__(self, model: bytes, source: str = "the tokenizer"):
        """Raises UserError, naming `source`, if `model` is damaged or lacks a needed piece."""
        self._model = model
        self._pieces = spm.SentencePieceProcessor()
        try:
            self._pieces.LoadFromSerializedProto(model)
        except RuntimeError:
            raise UserError(f"{source} is not a SentencePiece model, or is damaged") from None
        self.vocab_size: int = self._pieces.vocab_size()
        self.pad_id: int = self._pieces.pad_id()
        self.bos_id: int = self._pieces.bos_id()
        self.eos_id: int = self._pieces.eos_id()
        self.newline_id: int = self._pieces.piece_to_id("\n")
        self._unknown_id: int = self._pieces.unk_id()
        needed = {
            "padding": self.pad_id >= 0,
            "begin-of-text": self.bos_id >= 0,
            "end-of-text": self.eos_id >= 0,
            "newline": self.newline_id != self._unknown_id,
        }
        missing = [name for name, there in needed.items() if not there]
        if missing:
            raise UserError(f"{source} has no {' and no '.join(missing)} piece: use another model")

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        symbols: Sequence[str],
        config: TokenizerConfig,
        path: str | os.PathLike,
    ) -> "Tokenizer":
        """Learns pieces from `texts`, keeps each of `symbols` whole, and saves the model at `path`.

        The same texts, symbols and config give the same bytes. Byte-pair merges (Sennrich et al.
        2016, arXiv 1508.07909) never cross a symbol; of symbols that fit, the longest is taken.
        """
        texts = list(texts)
        whole = list(dict.fromkeys([*symbols, "\n"]))
        if config.vocab_size == 0:
            longest_first = sorted(whole, key=len, reverse=True)
            any_symbol = re.compile("|".join(map(re.escape, longest_first)))
            whole += sorted(set(any_symbol.sub("", "".join(texts))))
        fixed = len(_CONTROLS) + len(whole) + _BYTES * config.byte_fallback
        model = io.BytesIO()
        try:
            spm.SentencePieceTrainer.train(
                sentence_iterator=iter(texts),
                model_writer=model,
                model_type="bpe",
                vocab_size=config.vocab_size or fixed,
                hard_vocab_limit=False,
                user_defined_symbols=[symbol.replace(" ", _BLANK) for symbol in whole],
                byte_fallback=config.byte_fallback,
                split_digits=True,
                normalization_rule_name="identity",
                remove_extra_whitespaces=False,
                add_dummy_prefix=False,
                character_coverage=1.0,
                max_sentence_length=1 << 24,
                pad_id=0,
                bos_id=1,
                eos_id=2,
                unk_id=3,
                minloglevel=2,
            )
        except RuntimeError as error:
            raise UserError(
                f"tokenizer.vocab_size={config.vocab_size} ({fixed} of them fixed) does not suit "
                f"the task's {len(texts)} texts: {' '.join(str(error).split())}"
            ) from None
        tokenizer = cls(model.getvalue())
        tokenizer.save(path)
        return tokenizer

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Tokenizer":
        """Raises UserError if the file is missing, damaged, or lacks a needed piece."""
        try:
            model = Path(path).read_bytes()
        except OSError as error:
            raise UserError(f"tokenizer model {path} cannot be read: {error.strerror}") from None
        return cls(model, source=f"tokenizer model {path}")

    def save(self, path: str | os.PathLike) -> None:
        """Writes the model, whole or not at all."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        partial.write_bytes(self._model)
        partial.replace(path)

    @property
    def ids(self) -> TokenIds:
        return TokenIds(self.pad_id, self.bos_id, self.eos_id, self.newline_id)

    def encode_prompt(self, text: str) -> list[int]:
        """Token ids of a prompt, the begin-of-text piece first."""
        return [self.bos_id, *self.encode(text)]

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, with no control pieces added.

        Raises UserError if the vocabulary cannot write it.
        """
        ids = self._pieces.encode(text)
        if self._unknown_id in ids or _BLANK in text:
            bad = [c for c in dict.fromkeys(text) if c == _BLANK or not self._can_write(c)]
            raise UserError(
                f"the tokenizer has no piece for {', '.join(map(repr, bad[:5]))}: keep to the "
                "task's format, or train a tokenizer with tokenizer.byte_fallback=True"
            )
        return ids

    def _can_write(self, character: str) -> bool:
        return self._unknown_id not in self._pieces.encode(character)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids; padding, begin- and end-of-text pieces write nothing."""
        return self._pieces.decode([int(i) for i in ids])
