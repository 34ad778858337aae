"""Tokens that a tokenizer finds in a text before it cuts the rest into pieces."""

import re
from collections.abc import Iterable
from typing import NamedTuple


class AddedToken(NamedTuple):
    """A token that is always written whole; fields are named as in the files of checkpoints.

    Attributes:
      id: int.
      content: str. How it is written.
      special: bool. It is no text: it may be written in a prompt, and writes nothing itself.
      lstrip: bool. White space before it belongs to it.
      rstrip: bool. White space after it belongs to it.
      single_word: bool. It is not found within a word.
    """

    id: int
    content: str
    special: bool = False
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False


class AddedTokens:
    """Finds added tokens in texts: the first, and of several that begin together the longest."""

    def __init__(self, tokens: Iterable[AddedToken]):
        self._tokens = {token.content: token for token in tokens}
        longest_first = sorted(self._tokens, key=len, reverse=True)
        patterns = "|".join(_pattern(self._tokens[content]) for content in longest_first)
        self._any = re.compile(f"({patterns or '(?!)'})")

    def split(self, text: str) -> list[str | AddedToken]:
        """The text cut at its added tokens: text, token, text, ..., text. Texts may be empty."""
        parts = self._any.split(text)
        for at in range(1, len(parts), 2):
            token = parts[at] = self._tokens[parts[at]]
            if token.lstrip:
                parts[at - 1] = parts[at - 1].rstrip()
            if token.rstrip:
                parts[at + 1] = parts[at + 1].lstrip()
        return parts


def _pattern(token: AddedToken) -> str:
    content = re.escape(token.content)
    return rf"(?<!\w){content}(?!\w)" if token.single_word else content
