"""SentencePiece models, made here or published."""

import dataclasses
import io
import itertools
import json
import os
import re
from collections.abc import Iterable, Sequence
from typing import Self

import sentencepiece as spm

from expert_iter.errors import UserError
from expert_iter.model.tokenizers.added_tokens import AddedToken
from expert_iter.model.tokenizers.marks import Declared, Marks, choose_marks
from expert_iter.model.tokenizers.tokenizer import TextTokenizer

# SentencePiece's own mark for a blank. A text that holds this very character would come back with a
# blank in its place, so such a text is refused.
_BLANK = "\N{LOWER ONE EIGHTH BLOCK}"
_CONTROLS = ("<pad>", "<s>", "</s>", "<unk>")
_BYTES = 256

# A model's file is a protocol buffer: fields put behind it overrule those before them.
_NO_DUMMY_BLANK = b"\x1a\x02\x18\x00"  # normalizer_spec { add_dummy_prefix: false }
_MARKS_FIELD = b"\xc2\x0c"  # field 200, which ModelProto leaves to others: SentencePiece skips it
_MARKS_BEGIN = b"expert_iter marks: "

TIKTOKEN_LINE = re.compile(rb"[A-Za-z0-9+/]+=* \d+\r?\n")
_MARK = re.compile(r"<.+>|\[.+\]")


@dataclasses.dataclass(frozen=True)
class TokenizerConfig:
    """How a run gets its tokenizer.

    Attributes:
      model_file: a tokenizer to use as it is: a SentencePiece `.model`, a `tokenizer.json`, or a
        checkpoint's folder that holds either. Empty: train one on the task's texts.
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


class SentencePieceTokenizer(TextTokenizer):
    """A SentencePiece model: `decode(encode(text)) == text` for each text that `encode` accepts
    (where a model's own normaliser changes characters, up to that).
    """

    file_name = "tokenizer.model"

    def __init__(
        self, model: bytes, source: str = "the tokenizer", folder: str | os.PathLike | None = None
    ):
        """Raises UserError, naming `source`, if `model` is damaged or lacks a needed piece.

        folder: of the checkpoint, whose JSON files tell the marks, if `model` does not.
        """
        if TIKTOKEN_LINE.match(model):
            raise UserError(
                f"{source} is in tiktoken's format: use the tokenizer.json of the same checkpoint"
            )
        as_made = self._load(model, source)
        # A solution goes on after its prompt: no blank may come between.
        self._pieces = self._load(model + _NO_DUMMY_BLANK, source)
        self._dummy_blank = as_made.encode("\n") != self._pieces.encode("\n")
        self._unknown_id: int = self._pieces.unk_id()
        _, found, kept = model.rpartition(_MARKS_BEGIN)
        marks = Marks.of_json(json.loads(kept)) if found else None
        declared = Declared(None if found else folder)
        added = marks.added if marks else _added(declared)
        own = len(self._pieces)
        size = 1 + max([own - 1, *(token.id for token in added)])
        # What the pieces do not know: added tokens, and ids between them that nothing has.
        self._beside = dict.fromkeys(range(own, size), "") | {t.id: t.content for t in added}
        if marks is None:
            marks = self._marks(source, declared, added)
            if not declared.says_nothing:
                model += _marks_field(marks)
        newline = self._newline()
        if newline is None:
            raise UserError(f"{source} has no newline piece: use another model")
        super().__init__(model, size, newline, marks, self._written, added)
        probe = " \n  \n " if self._can_write(" ") else "\n\n"
        if self.decode(self.encode(probe)) != probe:
            raise UserError(f"{source} does not keep blanks and newlines: use another model")

    @classmethod
    def train(cls, texts: Iterable[str], symbols: Sequence[str], config: TokenizerConfig) -> Self:
        """Learns pieces from `texts`, and keeps each of `symbols` whole.

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
        return cls(model.getvalue())

    @staticmethod
    def _load(model: bytes, source: str) -> spm.SentencePieceProcessor:
        pieces = spm.SentencePieceProcessor()
        try:
            pieces.LoadFromSerializedProto(model)
        except RuntimeError:
            raise UserError(f"{source} is not a SentencePiece model, or is damaged") from None
        return pieces

    def _piece(self, text: str) -> int | None:
        i = self._pieces.piece_to_id(text)
        return None if i == self._unknown_id else i

    def _newline(self) -> int | None:
        """The newline's own piece, or its byte (Llama 2)."""
        byte = self._piece("<0x0A>")
        own = self._piece("\n")
        return byte if own is None and byte is not None and self._pieces.is_byte(byte) else own

    def _written(self, i: int) -> str:
        """How a token is written, be it a piece or beside them."""
        return self._beside[i] if i in self._beside else self._pieces.id_to_piece(i)

    def _marks(self, source: str, declared: Declared, added: tuple[AddedToken, ...]) -> Marks:
        pieces = self._pieces
        ids = {token.content: token.id for token in added}

        def may_end(i):
            if i in ids.values():
                return True
            looks = i < len(pieces) and _MARK.fullmatch(pieces.id_to_piece(i))
            return bool(looks) and not pieces.is_byte(i)

        own = {role: getattr(pieces, f"{role}_id")() for role in ("pad", "bos", "eos", "unk")}
        marks = choose_marks(
            source,
            declared,
            special=(i for i in range(len(pieces)) if pieces.is_control(i)),
            id_of=lambda text: ids.get(text, self._piece(text)),
            text_of=self._written,
            may_end=may_end,
            own={role: i for role, i in own.items() if i >= 0},
        )
        blank = self._dummy_blank and declared.blank_after_marks
        return marks._replace(added=added, blank_after_marks=blank)

    def _encode(self, text: str) -> list[int]:
        ids = []
        for part in self._in_texts.split(text):
            ids += [part.id] if isinstance(part, AddedToken) else self._pieces.encode(part)
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
        ids = [int(i) for i in ids]
        bos = self.ids.bos
        begins = [at for at, i in enumerate(ids) if i == bos]
        texts = []
        for begin, end in zip([0, *begins], [*begins, len(ids)], strict=True):
            text = self._text(self._textual(ids[begin:end]))
            after_begin = ids[begin : begin + 1] == [bos] and begin + 1 < end
            if self._dummy_blank and after_begin and self._writes(ids[begin + 1]):
                text = text.removeprefix(" ")
            texts.append(text)
        return "".join(texts)

    def decode_all(self, texts: Sequence[Sequence[int]]) -> list[str]:
        # One call of the library for all that need no other care takes a fifth of the time.
        special = {self.ids.bos, *self._beside}
        textual = [self._textual(ids) for ids in texts]
        plain = [i for i, ids in enumerate(texts) if textual[i] and special.isdisjoint(ids)]
        written = dict(zip(plain, self._pieces.decode([textual[i] for i in plain]), strict=True))
        return [written[i] if i in written else self.decode(ids) for i, ids in enumerate(texts)]

    def _text(self, ids: Sequence[int]) -> str:
        parts = []
        for beside, group in itertools.groupby(ids, self._beside.__contains__):
            run = list(group)
            parts += [self._beside[i] for i in run] if beside else [self._pieces.decode(run)]
        return "".join(parts)

    def token_text(self, i: int) -> str:
        return self._text([i]) if self._writes(i) else ""


def _added(declared: Declared) -> tuple[AddedToken, ...]:
    """The declared ones, but for runs of blanks, which SentencePiece finds itself (Gemma)."""
    return tuple(token for token in declared.added if _BLANK not in token.content)


def _marks_field(marks: Marks) -> bytes:
    """Marks as a field of a model's file."""
    field = _MARKS_BEGIN + json.dumps(marks._asdict()).encode()
    size, length = len(field), b""
    while size > 127:  # seven bits a byte, the lowest first
        length += bytes([size & 127 | 128])
        size >>= 7
    return _MARKS_FIELD + length + bytes([size]) + field
