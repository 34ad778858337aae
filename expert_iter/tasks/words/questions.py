"""Compares questions by their words, and hashes them for splits."""

import hashlib
import re
import unicodedata

# Words, numbers, and the operators that tell problems with the same numbers apart.
_WORD = re.compile(r"[^\W_]+|[+*/=<>^%|\\]|-(?=\s*[\d(])")

_OPENING = 4  # words that identify a story


def words_of(text: str) -> list[str]:
    """Its words and operators, without case and punctuation."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def normalised(text: str) -> str:
    """The words and operators as one string: equal for texts with the same words."""
    return " ".join(words_of(text))


def opening(text: str) -> str:
    """The first four words, without numbers: equal for most variations of one story."""
    return " ".join(re.sub("[0-9]+", "0", word) for word in words_of(text)[:_OPENING])


def share_of(text: str) -> float:
    """A hash of the words, uniform in [0, 1), for splits.

    A split by it is the same in all runs, so no run trains on another's test problems, and the same
    question is in one split only.
    """
    digest = hashlib.blake2b(normalised(text).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def is_held_out(text: str) -> bool:
    """Whether a training question is for validation, as about one in twenty are."""
    return share_of(text) < 0.05


def split_of_story(text: str) -> str:
    """A split for sets without one: about 70% train, 10% validation and 20% test."""
    share = share_of(opening(text))
    return "train" if share < 0.7 else "validation" if share < 0.8 else "test"
