"""Questions by their words alone: for telling the same question again, and for splitting."""

import hashlib
import re
import unicodedata

# Words and numbers, and the signs that can make another problem of the same numbers.
_WORD = re.compile(r"[^\W_]+|[+*/=<>^%|\\]|-(?=\s*[\d(])")

_OPENING = 4


def words_of(text: str) -> list[str]:
    """Its words and signs, without regard to case and punctuation."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def normalised(text: str) -> str:
    """Equal for texts of the same words."""
    return " ".join(words_of(text))


def opening(text: str) -> str:
    """Equal for most variations of one story: its first four words, whatever the numbers."""
    return " ".join(re.sub("[0-9]+", "0", word) for word in words_of(text)[:_OPENING])


def share_of(text: str) -> float:
    """A number from 0 to 1 that depends on the words alone, to split by: the same in every run.

    So what one run tests on, no other trains on, and the same question is in one split only.
    """
    digest = hashlib.blake2b(normalised(text).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def split_of_story(text: str) -> str:
    """Of a set without splits: about 70, 10 and 20 in a hundred for training, validation, test."""
    share = share_of(opening(text))
    return "train" if share < 0.7 else "validation" if share < 0.8 else "test"
