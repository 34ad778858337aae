"""The tokens that are no text: which they are, by a tokenizer's file and the files beside it."""

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from expert_iter.errors import UserError
from expert_iter.model.json_file import read_json
from expert_iter.model.tokenizers.added_tokens import AddedToken

_SPARE = re.compile("pad|reserved|unused|control_", re.IGNORECASE)
_LISTS = ("additional_special_tokens", "extra_special_tokens")


class TokenIds(NamedTuple):
    """Ids of the pieces that the program itself must know.

    Attributes:
      pad: int. Stands where there is no text. It may be any mark, an end of a text too: what is
        text is told by lengths and masks, never by this token.
      bos: int, or None where the model has no such token. Begins each prompt.
      eos: int. The text end that is written.
      newline: int.
      other_ends: text ends that a published model may write too.
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
    """What a tokenizer's pieces do not tell by themselves; a run keeps it in one file with them.

    Attributes:
      pad: int.
      bos: int, or None.
      ends: ids of the text ends, the one that is written first.
      special: ids of all tokens that are no text, in order.
      added: tokens that stand beside the pieces, which know nothing of them.
      blank_after_marks: bool. Where the model sees a blank before a text, whether a prompt has one
        after each added token too, not only at its begin.
    """

    pad: int
    bos: int | None
    ends: tuple[int, ...]
    special: tuple[int, ...]
    added: tuple[AddedToken, ...] = ()
    blank_after_marks: bool = False

    @classmethod
    def of_json(cls, kept: dict) -> "Marks":
        return cls(
            kept["pad"],
            kept["bos"],
            tuple(kept["ends"]),
            tuple(kept["special"]),
            tuple(AddedToken(*token) for token in kept.get("added", ())),
            kept.get("blank_after_marks", False),
        )


class Declared:
    """What the JSON files of a checkpoint's folder say about its marks (without a folder: nothing).

    Raises UserError if one of them is damaged.
    """

    def __init__(self, folder: Path | None):
        self._folder = folder
        self._tokenizer = _read_json(folder, "tokenizer_config.json")
        self._map = _read_json(folder, "special_tokens_map.json")
        config = _read_json(folder, "config.json")
        text_config = config.get("text_config") or {}  # of models that see images
        self._models = [_read_json(folder, "generation_config.json"), config, text_config]

    @property
    def begins_texts(self) -> bool | None:
        """Whether texts begin with a token of their own; None: the files do not say."""
        return self._tokenizer.get("add_bos_token")

    @property
    def blank_after_marks(self) -> bool:
        """See `Marks`. Files call it `legacy`; without it transformers goes by the family."""
        family = next((m["model_type"] for m in self._models if "model_type" in m), None)
        return bool(self._tokenizer.get("legacy", family == "mistral"))

    def tokens(self, role: str) -> list[str | int]:
        """Texts or ids of the tokens of a role ("pad", "bos", "eos", "unk"), the surest first."""
        found = _flat(self._tokenizer.get(f"{role}_token")) + _flat(self._map.get(f"{role}_token"))
        ids = (_flat(model.get(f"{role}_token_id")) for model in self._models)
        return found + next(filter(None, ids), [])

    @property
    def says_nothing(self) -> bool:
        return not any((self._tokenizer, self._map, *self._models, self.added))

    def special(self) -> list[str]:
        """Texts of all tokens that are said to be special."""
        found = [token.content for token in self.added if token.special]
        for key in _LISTS:
            found += _flat(self._tokenizer.get(key)) + _flat(self._map.get(key))
        return found

    @functools.cached_property
    def added(self) -> tuple[AddedToken, ...]:
        """Tokens that were added to a tokenizer's own; one that has a role, as eos has, is special.

        Where tokenizer_config.json lists them, transformers looks nowhere else, and so do we.
        """
        records = self._tokenizer.get("added_tokens_decoder")
        try:
            if records is None:
                ids = _read_json(self._folder, "added_tokens.json")
                whole = _read_json(self._folder, "tokenizer.json").get("added_tokens", [])
                records = {i: {"content": content} for content, i in ids.items()}
                records |= {token["id"]: token for token in whole}
            return tuple(self._added(int(i), token) for i, token in records.items())
        except (AttributeError, KeyError, TypeError, ValueError):
            raise UserError(
                f"{self._folder}: its JSON files are damaged where they list added tokens"
            ) from None

    def _added(self, i: int, token: dict[str, Any]) -> AddedToken:
        content = token["content"]
        if not isinstance(content, str) or not content or i < 0:
            raise ValueError
        special, *others = (bool(token.get(flag)) for flag in AddedToken._fields[2:])
        return AddedToken(i, content, special or content in self._named, *others)

    @functools.cached_property
    def _named(self) -> set[str]:
        """Texts of the tokens that have a role."""
        facts = [*self._tokenizer.items(), *self._map.items()]
        roles = [value for key, value in facts if key.endswith("_token") or key in _LISTS]
        return {token for token in _flat(roles) if isinstance(token, str)}


def _read_json(folder: Path | None, name: str) -> dict[str, Any]:
    """What a file says; nothing if it is not there."""
    there = folder is not None and (folder / name).exists()
    return read_json(folder / name) if there else {}


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

    Padding is a token that is in no text: the declared one, or a spare one, by its name, or the one
    for unknown text. Where each of these begins or ends texts too, it is the end of a text.

    Args:
      special: the special tokens, as far as the file knows; id_of: the id of a token's text, if
        there is one; text_of: the inverse; may_end: whether a token is no ordinary one.
      own: the ids of the roles "pad", "bos", "eos", "unk", where there are any.

    Raises UserError if there is no text end, or one is an ordinary token.
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
    marks = sorted({*special, *ends, *listed, bos, own.get("unk")} - {None})
    spare = [(None, i) for i in marks if _SPARE.search(text_of(i))]
    candidates = (i for _, i in ids("pad") + spare + ids("unk"))
    pad = next((i for i in candidates if i in marks and i not in (bos, *ends)), ends[0])
    return Marks(pad, bos, ends, tuple(marks))
