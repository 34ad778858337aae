"""Byte-level byte-pair tokenizers (Qwen, Llama 3): a Hugging Face `tokenizer.json`."""

import json
import os
from collections.abc import Sequence
from typing import Any

from expert_iter.errors import UserError
from expert_iter.model.tokenizers.added_tokens import AddedToken
from expert_iter.model.tokenizers.marks import Declared, Marks, choose_marks
from expert_iter.model.tokenizers.tokenizer import TextTokenizer

_NO_PIECE = "(no piece)"  # no tokenizer has it: a blank is written otherwise in pieces
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
    """A byte-level `tokenizer.json`: `decode(encode(text)) == text` for each text that `encode`
    accepts, up to the file's normaliser (Qwen: Unicode's NFC) and its token for unknown text.
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
        newline = ids.get(_CHARACTER[ord("\n")])
        if newline is None:
            raise UserError(f"{source} has no newline piece: use another model")
        self._unknown = ids.get(content["model"].get("unk_token"))
        kept = content["model"].get(_KEPT)
        if kept is None:
            marks = self._marks(source, Declared(folder), ids, added)
            content["model"][_KEPT] = marks._asdict()
            file = json.dumps(content, ensure_ascii=False).encode()
        else:
            marks = Marks.of_json(kept)
        if self._unknown in (None, marks.bos, *marks.ends):
            # What has no piece is refused. The library would leave it out, or end the text there.
            self._pieces.model.unk_token = _NO_PIECE
        texts = {i: text for text, i in ids.items()}
        self._bytes = {
            i: text.encode() if i in added else _written(text) for i, text in texts.items()
        }
        flags = AddedToken._fields[2:]
        special = [
            AddedToken(i, token.content, *(getattr(token, flag) for flag in flags))
            for i, token in added.items()
            if token.special
        ]
        super().__init__(file, max(texts) + 1, newline, marks, texts.__getitem__, special)
        probe = "".join(filter(self._can_write, "a \n\n  b\t"))
        if self.decode(self.encode(probe)) != probe:
            raise UserError(
                f"{source} does not keep texts as they are (it may put a blank before each): use "
                "another model"
            )

    def _marks(self, source: str, declared: Declared, ids: dict[str, int], added: dict) -> Marks:
        special = [i for i, token in added.items() if token.special]
        own = {"unk": self._unknown}
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
        try:
            return self._encode_pieces(text)
        except Exception:  # the library raises bare Exceptions; here, for want of a piece
            normalizer = self._pieces.normalizer
            text = normalizer.normalize_str(text) if normalizer else text
            bad = [c for c in dict.fromkeys(text) if not self._can_write(c)]
        raise UserError(
            f"the tokenizer has no piece for {', '.join(map(repr, bad[:5]))}: leave it out of the "
            "text, or use another model"
        )

    def _encode_pieces(self, text: str) -> list[int]:
        return self._pieces.encode(text, add_special_tokens=False).ids

    def _can_write(self, character: str) -> bool:
        try:
            return self._unknown not in self._encode_pieces(character)
        except Exception:  # as in `_encode`
            return False

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
