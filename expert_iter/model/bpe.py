"""Byte-level byte-pair tokenizers (Qwen, Llama 3): a Hugging Face `tokenizer.json`."""

import json
import os
from collections.abc import Sequence
from typing import Any

from expert_iter.errors import UserError
from expert_iter.model.marks import Declared, Marks, choose_marks
from expert_iter.model.tokenizer import TextTokenizer

_KEPT = "expert_iter"  # where a run's file keeps the marks: the library skips it in `model`


def _bytes_of_characters() -> dict[str, int]:
    """The characters that stand for bytes in the pieces (Radford et al. 2019, GPT-2): a printable
    Latin-1 character for itself, and those from U+0100 on for the others in their order.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(256 + n): b for n, b in enumerate(others)}


_BYTE = _bytes_of_characters()
_CHARACTER = {byte: character for character, byte in _BYTE.items()}


class BytePairTokenizer(TextTokenizer):
    """A byte-level `tokenizer.json`: `decode(encode(text)) == text` for every text, up to the
    normaliser of the file (Qwen: Unicode's NFC).
    """

    file_name = "tokenizer.json"

    def __init__(self, file: bytes, source: str, folder: str | os.PathLike | None = None):
        """Raises UserError, naming `source`, if `file` is damaged or of another kind, or names no
        needed token; and if the package `tokenizers` is not installed.

        folder: of the checkpoint, whose JSON files tell the marks, if `file` does not.
        """
        content = _parse(file, source)
        self._pieces = _pieces(file, source)
        ids = self._pieces.get_vocab(with_added_tokens=True)
        added = self._pieces.get_added_tokens_decoder()
        missing = sum(character not in ids for character in _BYTE)
        if missing:
            raise UserError(f"{source} has no piece for {missing} of the 256 bytes")
        kept = content["model"].get(_KEPT)
        if kept is None:
            marks = self._marks(source, Declared(folder), ids, added)
            content["model"][_KEPT] = marks._asdict()
            file = json.dumps(content, ensure_ascii=False).encode()
        else:
            marks = Marks.of_json(kept)
        texts = {i: text for text, i in ids.items()}
        self._bytes = {
            i: text.encode() if i in added else _written(text) for i, text in texts.items()
        }
        newline = ids[_CHARACTER[ord("\n")]]
        super().__init__(file, max(texts) + 1, newline, marks, texts.__getitem__)
        probe = "a \n\n  b\t"
        if self.decode(self.encode(probe)) != probe:
            raise UserError(
                f"{source} does not keep texts as they are (it may put a blank before each): use "
                "another model"
            )

    def _marks(self, source: str, declared: Declared, ids: dict[str, int], added: dict) -> Marks:
        special = [i for i, token in added.items() if token.special]
        own = {}
        with_marks, plain = self._pieces.encode("\n").ids, self._encode("\n")
        if with_marks[0] != plain[0]:
            own["bos"] = with_marks[0]
        elif declared.begins_texts:
            own["bos"] = next((ids[text] for text in declared.tokens("bos") if text in ids), None)
        return choose_marks(
            source,
            declared,
            special=special,
            id_of=ids.get,
            text_of={i: text for text, i in ids.items()}.__getitem__,
            may_end=lambda i: i in added,
            own=own,
        )

    def _encode(self, text: str) -> list[int]:
        return self._pieces.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        written = (self._bytes.get(i, b"") for i in self._textual([int(i) for i in ids]))
        return b"".join(written).decode(errors="replace")

    def token_text(self, i: int) -> str:
        return self.decode([i])


def _parse(file: bytes, source: str) -> dict[str, Any]:
    """What the file says, checked as far as it is read here."""
    try:
        content = json.loads(file)
        kind, decoder = content["model"]["type"], content["decoder"] or {}
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{source} is no tokenizer.json, or is damaged") from None
    decoders = [decoder, *decoder.get("decoders", [])]
    if kind != "BPE" or "ByteLevel" not in [each.get("type") for each in decoders]:
        raise UserError(
            f"{source} is not a byte-level BPE tokenizer: use the checkpoint's tokenizer.model"
        )
    return content


def _pieces(file: bytes, source: str):
    """The library's own tokenizer."""
    try:
        import tokenizers
    except ImportError:
        raise UserError(
            f"{source} needs the package tokenizers: pip install 'expert_iter[bpe]'"
        ) from None
    try:
        pieces = tokenizers.Tokenizer.from_str(file.decode())
    except Exception as error:  # the library raises bare Exceptions
        raise UserError(f"{source} is no tokenizer.json, or is damaged: {error}") from None
    pieces.no_truncation()
    pieces.no_padding()
    return pieces


def _written(piece: str) -> bytes:
    """The bytes that an ordinary piece writes."""
    if all(character in _BYTE for character in piece):
        return bytes(_BYTE[character] for character in piece)
    return piece.encode()
