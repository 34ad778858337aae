"""Text to token ids and back, with nothing lost on the way: what all tokenizers do alike."""

import abc
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Self

from etils import epath

from expert_iter.errors import UserError
from expert_iter.model.tokenizers.added_tokens import AddedToken, AddedTokens
from expert_iter.model.tokenizers.marks import Marks, TokenIds


class TextTokenizer(abc.ABC):
    """What both kinds of tokenizers do alike.

    Attributes:
      file_name: what its file is called in a checkpoint's folder, and in a run's.
      vocab_size: token ids are below it.
      ids: the tokens that the program must know.
      file: bytes of a file from which `load` makes the same tokenizer.
    """

    file_name: str
    # Whether the model was made to see a blank before each text (Llama 2, Mistral). A prompt has it
    # where it begins, and for some models after each added token. What goes on after it has none.
    _dummy_blank = False

    def __init__(
        self,
        file: bytes,
        vocab_size: int,
        newline: int,
        marks: Marks,
        text_of: Callable[[int], str],
        added: Iterable[AddedToken],
    ):
        """text_of: how a mark is written in a prompt; added: tokens to be found here, before the
        rest of a text is cut into pieces.
        """
        self.file, self.vocab_size, self._rows = file, vocab_size, vocab_size
        self.ids = TokenIds(marks.pad, marks.bos, marks.ends[0], newline, marks.ends[1:])
        self._silent = {marks.pad, *marks.special}
        self._blank_after_marks = marks.blank_after_marks
        known = {token.id: token for token in added}
        special = {
            i: known.get(i) or AddedToken(i, text_of(i), special=True) for i in marks.special
        }
        special = {i: token for i, token in special.items() if token.content}
        self._begin = special.get(marks.bos)
        self._in_texts = AddedTokens(token for i, token in known.items() if i not in special)
        self._in_prompts = AddedTokens((known | special).values())
        rests = defaultdict(list)
        for token in special.values():
            first, rest = token.content[0], token.content[1:]
            rests[re.escape(first)].append(re.escape(rest))
        inside = (f"(?<={first})(?={'|'.join(rest)})" for first, rest in rests.items())
        self._inside_a_mark = re.compile("|".join(inside) or "(?!)")

    @classmethod
    def load(cls, path: str | os.PathLike) -> Self:
        """Reads a tokenizer's file; its marks are told by the file, or by the JSON files beside it.

        Raises UserError if the file is missing, damaged, or lacks a needed piece.
        """
        return cls(read_model(path), f"tokenizer model {path}", epath.Path(path).parent)

    def require_rows(self, rows: int) -> None:
        """Refuses from now on texts with tokens that an embedding of so many rows does not have.

        Raises UserError if it lacks a token that every run needs.
        """
        pad, bos, eos, newline, other_ends = self.ids
        needed = {"padding": pad, "begin of a text": bos, "end of a text": eos, "newline": newline}
        needed |= {f"other end of a text, number {n}": i for n, i in enumerate(other_ends, 1)}
        for what, i in needed.items():
            if i is not None and i >= rows:
                raise UserError(_no_row(f"the token {i} ({what})", rows))
        self._rows = rows

    def encode_prompt(self, text: str) -> list[int]:
        """Token ids of a prompt: first the begin of a text, if the model has a token for it.

        Special tokens may be written in the prompt, as chat templates do.
        """
        parts = self._in_prompts.split(text)
        if self._begin is not None and parts[:2] != ["", self._begin]:
            parts = ["", self._begin, *parts]
        ids = []
        for at, part in enumerate(parts):
            begins = at == 0 or parts[at - 1] == self._begin
            if isinstance(part, AddedToken):
                ids.append(part.id)
            elif part or (begins and at == len(parts) - 1):
                blank = self._dummy_blank and (begins or self._blank_after_marks)
                ids += self.encode(" " + part if blank else part)
        return self._with_rows(ids)

    def encode(self, text: str) -> list[int]:
        """Token ids of ordinary text that goes on after other text.

        Special tokens are never among them, but for one that stands for unknown text: what looks
        like one is written in pieces. Raises UserError if the vocabulary cannot write the text, or
        the network has no row for one of its tokens (see `require_rows`).
        """
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UserError(f"this is no valid Unicode text: {ascii(text[:60])}") from None
        parts = self._inside_a_mark.split(text)
        return self._with_rows([i for part in parts for i in self._encode(part)])

    def without_marks(self, text: str) -> str:
        """The text without what `encode_prompt` would take for a special token."""
        while True:
            parts = self._in_prompts.split(text)
            if not any(map(_is_mark, parts)):
                return text
            # What stood around a token may be one when it is gone.
            texts = (
                p.content if isinstance(p, AddedToken) else p for p in parts if not _is_mark(p)
            )
            text = "".join(texts)

    def _with_rows(self, ids: list[int]) -> list[int]:
        largest = max(ids, default=0)
        if largest >= self._rows:
            raise UserError(_no_row(f"the token {largest} of this text", self._rows))
        return ids

    def _writes(self, i: int) -> bool:
        return 0 <= i < self.vocab_size and i not in self._silent

    def _textual(self, ids: Sequence[int]) -> list[int]:
        """Those of the ids that write something. (The verifier waits for it: no calls within.)"""
        size, silent = self.vocab_size, self._silent
        return [i for i in ids if 0 <= i < size and i not in silent]

    @abc.abstractmethod
    def _encode(self, text: str) -> list[int]:
        """Token ids of text in which no special token is written."""

    @abc.abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids. Special tokens, and ids past the vocabulary, write nothing."""

    def decode_all(self, texts: Sequence[Sequence[int]]) -> list[str]:
        """`decode` of each."""
        return [self.decode(ids) for ids in texts]

    @abc.abstractmethod
    def token_text(self, i: int) -> str:
        """What one token writes in the midst of a text.

        Newlines and blanks are exact; bytes that are no whole character give a U+FFFD.
        """


def _is_mark(part: str | AddedToken) -> bool:
    return isinstance(part, AddedToken) and part.special


def _no_row(token: str, rows: int) -> str:
    return (
        f"{token} has no row in the network's embedding, which has {rows}: use the tokenizer that "
        "the weights were trained with"
    )


def read_model(path: str | os.PathLike) -> bytes:
    """A tokenizer's file. Raises UserError if it cannot be read."""
    try:
        return epath.Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"tokenizer model {path} cannot be read: {error.strerror}") from None
