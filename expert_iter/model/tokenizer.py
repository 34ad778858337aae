"""Text to token ids and back, with nothing lost on the way: what all tokenizers do alike."""

import abc
import os
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Self

from etils import epath

from expert_iter.errors import UserError
from expert_iter.model.marks import Marks, TokenIds
from expert_iter.pod.files import write_atomic


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
        return cls(read_model(path), f"tokenizer model {path}", epath.Path(path).parent)

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

    @abc.abstractmethod
    def token_text(self, i: int) -> str:
        """What one token writes in the midst of a text.

        Newlines and blanks are exact; bytes that are no whole character give a U+FFFD.
        """


def read_model(path: str | os.PathLike) -> bytes:
    """A tokenizer's file. Raises UserError if it cannot be read."""
    try:
        return epath.Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"tokenizer model {path} cannot be read: {error.strerror}") from None
