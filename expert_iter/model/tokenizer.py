"""Text to token ids and back, with nothing lost on the way: SentencePiece models (made here, or
published), and what they share with the byte-level ones of `bpe.py`.
"""

import abc
import dataclasses
import io
import json
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import sentencepiece as spm
from etils import epath

from expert_iter.errors import UserError
from expert_iter.pod.files import write_atomic

# SentencePiece's own mark for a blank. A text that holds this very character would come back with a
# blank in its place, so such a text is refused.
_BLANK = "\N{LOWER ONE EIGHTH BLOCK}"
_CONTROLS = ("<pad>", "<s>", "</s>", "<unk>")
_BYTES = 256

# A model's file is a protocol buffer: fields put behind it overrule those before them.
_NO_DUMMY_BLANK = b"\x1a\x02\x18\x00"  # normalizer_spec { add_dummy_prefix: false }
_MARKS_FIELD = b"\xc2\x0c"  # field 200, which ModelProto leaves to others: SentencePiece skips it
_MARKS_BEGIN = b"expert_iter marks: "

_TIKTOKEN_LINE = re.compile(rb"[A-Za-z0-9+/]+=* \d+\r?\n")
_MARK = re.compile(r"<.+>|\[.+\]")
_SPARE = re.compile("pad|reserved|unused|control_", re.IGNORECASE)


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


class TokenIds(NamedTuple):
    """Ids of the pieces that the program itself must know.

    pad: stands where there is no text; bos: begins each prompt (None: the model has no such token);
    eos: the text end that is written; other_ends: text ends that a published model may write too.
    """

    pad: int
    bos: int | None
    eos: int
    newline: int
    other_ends: tuple[int, ...] = ()

    @property
    def ends(self) -> tuple[int, ...]:
        """Every token that ends a text."""
        return (self.eos, *self.other_ends)

    @property
    def never(self) -> tuple[int, ...]:
        """Tokens that are never written. (Some models begin texts with what ends them.)"""
        return tuple(i for i in (self.pad, self.bos) if i is not None and i not in self.ends)


class Marks(NamedTuple):
    """The tokens that are no text, which a run's folder keeps in one file with the pieces.

    ends: the text ends, the one that is written first; special: ids of all other marks.
    """

    pad: int
    bos: int | None
    ends: tuple[int, ...]
    special: tuple[int, ...]

    @classmethod
    def of_json(cls, kept: dict) -> "Marks":
        return cls(kept["pad"], kept["bos"], tuple(kept["ends"]), tuple(kept["special"]))


class Declared:
    """What the JSON files of a checkpoint's folder say about its marks (without a folder: nothing).

    Raises UserError if one of them is damaged.
    """

    def __init__(self, folder: Path | None):
        self._tokenizer = _read_json(folder, "tokenizer_config.json")
        self._map = _read_json(folder, "special_tokens_map.json")
        self._models = [
            _read_json(folder, f"{name}.json") for name in ("generation_config", "config")
        ]
        self._models.append(self._models[-1].get("text_config") or {})  # of models that see images

    @property
    def begins_texts(self) -> bool | None:
        """Whether texts begin with a token of their own; None: the files do not say."""
        return self._tokenizer.get("add_bos_token")

    def tokens(self, role: str) -> list[str | int]:
        """Texts or ids of the tokens of a role ("pad", "bos", "eos", "unk"), the surest first."""
        found = _flat(self._tokenizer.get(f"{role}_token")) + _flat(self._map.get(f"{role}_token"))
        ids = (_flat(model.get(f"{role}_token_id")) for model in self._models)
        return found + next(filter(None, ids), [])

    def special(self) -> list[str]:
        """Texts of all tokens that are said to be special."""
        added = self._tokenizer.get("added_tokens_decoder", {}).values()
        found = [token["content"] for token in added if token.get("special")]
        for key in ("additional_special_tokens", "extra_special_tokens"):
            found += _flat(self._tokenizer.get(key)) + _flat(self._map.get(key))
        return found


def _read_json(folder: Path | None, name: str) -> dict[str, Any]:
    """What a file says; nothing if it is not there."""
    if folder is None or not (folder / name).exists():
        return {}
    try:
        record = json.loads((folder / name).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / name} cannot be read: {error}") from None
    if not isinstance(record, dict):
        raise UserError(f"{folder / name} is damaged: it holds no JSON object")
    return record


def _flat(value: Any) -> list[str | int]:
    """Tokens as these files write them: a text, an id, an object with `content`, a list of them."""
    if isinstance(value, list):
        return [token for each in value for token in _flat(each)]
    if isinstance(value, dict):
        return _flat(value.get("content", list(value.values())))
    there = isinstance(value, str) or (isinstance(value, int) and value >= 0)
    return [value] if there else []


def choose_marks(
    source: str,
    declared: Declared,
    special: Iterable[int],
    id_of: Callable[[str], int | None],
    text_of: Callable[[int], str],
    may_end: Callable[[int], bool],
    own: Mapping[str, int | None],
) -> Marks:
    """The marks of a tokenizer: those that are `declared`, then its `own`, which its file names.

    Padding must be a token that is in no text: not an ordinary one, nor a begin or end of a text.
    Where none is declared it is a spare one, by its name, or the one for unknown text.

    Args:
      special: the special tokens, as far as the file knows; id_of: the id of a token's text, if
        there is one; text_of: the inverse; may_end: whether a token is no ordinary one.
      own: the ids of the roles "pad", "bos", "eos", "unk", where there are any.

    Raises UserError if there is no text end or no padding, or a text end is an ordinary token.
    """

    def ids(role):
        tokens = declared.tokens(role)
        found = [id_of(token) if isinstance(token, str) else token for token in tokens]
        return [*zip(tokens, found, strict=True), (own.get(role), own.get(role))]

    named = [(token, i) for token, i in ids("eos") if token is not None]
    ends = tuple(dict.fromkeys(i for _, i in named))
    for token, i in named:
        if i is None or not may_end(i):
            raise UserError(
                f"{source} has no special token {token!r}, which the files beside it name as an "
                "end of text: mend eos_token or eos_token_id there"
            )
    if not ends:
        raise UserError(
            f"{source} has no end-of-text piece, and no tokenizer_config.json beside it names one: "
            "use a checkpoint's folder, or another model"
        )
    listed = (id_of(text) for text in declared.special())
    bos = None if declared.begins_texts is False else own.get("bos")
    special = sorted({*special, *ends, *listed, bos} - {None})
    spare = [(None, i) for i in special if _SPARE.search(text_of(i))]
    for _, i in ids("pad") + spare + ids("unk"):
        if i in (*special, own.get("unk")) and i not in (None, bos, *ends):
            return Marks(i, bos, ends, tuple(special))
    raise UserError(
        f"{source} has no piece that can stand for padding (one that is special, and no begin or "
        "end of a text): use another model"
    )


class TextTokenizer(abc.ABC):
    """What both kinds of tokenizers do alike.

    Attributes:
      file_name: what its file is called in a checkpoint's folder, and in a run's.
      vocab_size: token ids are below it.
      ids: the tokens that the program must know.
    """

    file_name: str
    # Whether the model was made to see a blank before each text (Llama 2, Mistral). It is put
    # between the begin of a text and the text, and taken away there in decoding; nowhere else.
    _dummy_blank = False

    def __init__(
        self,
        file: bytes,
        vocab_size: int,
        newline: int,
        marks: Marks,
        text_of: Callable[[int], str],
    ):
        """file: what `save` writes; text_of: how a mark is written in a prompt."""
        self._file, self.vocab_size = file, vocab_size
        self.ids = TokenIds(marks.pad, marks.bos, marks.ends[0], newline, marks.ends[1:])
        self._silent = {marks.pad, *marks.special}
        texts = {i: text_of(i) for i in marks.special if text_of(i)}
        self._begin = texts.get(marks.bos)
        self._id_of_mark = {text: i for i, text in texts.items() if i != marks.pad}
        longest_first = sorted(self._id_of_mark, key=len, reverse=True)
        self._mark = re.compile(f"({'|'.join(map(re.escape, longest_first)) or '(?!)'})")
        rests = defaultdict(list)
        for text in texts.values():
            rests[re.escape(text[0])].append(re.escape(text[1:]))
        inside = (f"(?<={first})(?={'|'.join(rest)})" for first, rest in rests.items())
        self._inside_a_mark = re.compile("|".join(inside) or "(?!)")

    @property
    def pad_id(self) -> int:
        return self.ids.pad

    @property
    def bos_id(self) -> int | None:
        return self.ids.bos

    @property
    def eos_id(self) -> int:
        return self.ids.eos

    @property
    def newline_id(self) -> int:
        return self.ids.newline

    @classmethod
    def load(cls, path: str | os.PathLike) -> Self:
        """Reads a tokenizer's file; its marks are told by the file, or by the JSON files beside it.

        Raises UserError if the file is missing, damaged, or lacks a needed piece.
        """
        return cls(_read(path), f"tokenizer model {path}", epath.Path(path).parent)

    def save(self, path: str | os.PathLike) -> None:
        """Writes one file, whole or not at all, from which `load` makes the same tokenizer."""
        path = epath.Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, self._file)

    def encode_prompt(self, text: str) -> list[int]:
        """Token ids of a prompt: first the begin of a text, if the model has a token for it.

        Special tokens may be written in the prompt, as chat templates do.
        """
        parts = self._mark.split(text)  # text, mark, text, ..., text
        if self._begin is not None and parts[:2] != ["", self._begin]:
            parts = ["", self._begin, *parts]
        ids = []
        for at, part in enumerate(parts):
            if at % 2:
                ids.append(self._id_of_mark[part])
            elif part or at == len(parts) - 1:
                begins = at > 0 and parts[at - 1] == self._begin
                ids += self.encode(" " + part if begins and self._dummy_blank else part)
        return ids

    def encode(self, text: str) -> list[int]:
        """Token ids of ordinary text that goes on after other text.

        Special tokens are never among them: what looks like one is written in pieces. Raises
        UserError if the vocabulary cannot write the text.
        """
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UserError(f"this is no valid Unicode text: {ascii(text[:60])}") from None
        return [i for part in self._inside_a_mark.split(text) for i in self._encode(part)]

    def _writes(self, i: int) -> bool:
        return 0 <= i < self.vocab_size and i not in self._silent

    @abc.abstractmethod
    def _encode(self, text: str) -> list[int]:
        """Token ids of text in which no special token is written."""

    @abc.abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids. Special tokens, and ids past the vocabulary, write nothing."""

    @abc.abstractmethod
    def token_text(self, i: int) -> str:
        """What one token writes in the midst of a text.

        Newlines and blanks are exact; bytes that are no whole character give a U+FFFD.
        """


class Tokenizer(TextTokenizer):
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
        if _TIKTOKEN_LINE.match(model):
            raise UserError(
                f"{source} is in tiktoken's format: use the tokenizer.json of the same checkpoint"
            )
        as_made = self._load(model, source)
        # A solution goes on after its prompt: no blank may come between.
        self._pieces = self._load(model + _NO_DUMMY_BLANK, source)
        self._dummy_blank = as_made.encode("\n") != self._pieces.encode("\n")
        self._unknown_id: int = self._pieces.unk_id()
        newline = self._newline()
        if newline is None:
            raise UserError(f"{source} has no newline piece: use another model")
        before, found, kept = model.rpartition(_MARKS_BEGIN)
        if found:
            marks = Marks.of_json(json.loads(kept))
        else:
            marks = self._marks(source, Declared(folder))
            if marks != self._marks(source, Declared(None)):
                model += _marks_field(marks)
        super().__init__(model, self._pieces.vocab_size(), newline, marks, self._pieces.id_to_piece)
        probe = " \n  \n " if self._can_write(" ") else "\n\n"
        if self.decode(self.encode(probe)) != probe:
            raise UserError(f"{source} does not keep blanks and newlines: use another model")

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

    def _marks(self, source: str, declared: Declared) -> Marks:
        pieces = self._pieces

        def may_end(i):
            looks = i < len(pieces) and _MARK.fullmatch(pieces.id_to_piece(i))
            return bool(looks) and not pieces.is_byte(i)

        own = {role: getattr(pieces, f"{role}_id")() for role in ("pad", "bos", "eos", "unk")}
        return choose_marks(
            source,
            declared,
            special=(i for i in range(len(pieces)) if pieces.is_control(i)),
            id_of=self._piece,
            text_of=pieces.id_to_piece,
            may_end=may_end,
            own={role: i for role, i in own.items() if i >= 0},
        )

    def _encode(self, text: str) -> list[int]:
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
        ids = [int(i) for i in ids]
        begins = [at for at, i in enumerate(ids) if i == self.bos_id]
        texts = []
        for begin, end in zip([0, *begins], [*begins, len(ids)], strict=True):
            text = self._pieces.decode([i for i in ids[begin:end] if self._writes(i)])
            after_begin = ids[begin : begin + 1] == [self.bos_id] and begin + 1 < end
            if self._dummy_blank and after_begin and self._writes(ids[begin + 1]):
                text = text.removeprefix(" ")
            texts.append(text)
        return "".join(texts)

    def token_text(self, i: int) -> str:
        return self._pieces.decode([i]) if self._writes(i) else ""


def load_tokenizer(path: str | os.PathLike) -> TextTokenizer:
    """The tokenizer of a SentencePiece `.model`, a `tokenizer.json`, or a checkpoint's folder with
    one of them (where there are both, `tokenizer.model`, unless it is in tiktoken's format).

    Raises UserError if there is none, or it cannot be used.
    """
    path = epath.Path(path)
    if path.is_dir():
        model, bpe = path / "tokenizer.model", path / "tokenizer.json"
        if not model.exists() and not bpe.exists():
            raise UserError(f"{path} holds neither a tokenizer.model nor a tokenizer.json")
        tiktoken = model.exists() and _TIKTOKEN_LINE.match(_read(model))
        path = bpe if bpe.exists() and (tiktoken or not model.exists()) else model
    if path.suffix == ".json":
        from expert_iter.model.bpe import BytePairTokenizer  # it needs this file

        return BytePairTokenizer.load(path)
    return Tokenizer.load(path)


def _read(path: str | os.PathLike) -> bytes:
    try:
        return epath.Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"tokenizer model {path} cannot be read: {error.strerror}") from None


def _marks_field(marks: Marks) -> bytes:
    """Marks as a field of a model's file."""
    field = _MARKS_BEGIN + json.dumps(marks._asdict()).encode()
    size, length = len(field), b""
    while size > 127:  # seven bits a byte, the lowest first
        length += bytes([size & 127 | 128])
        size >>= 7
    return _MARKS_FIELD + length + bytes([size]) + field
