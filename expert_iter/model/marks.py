"""The tokens that are no text: which they are, by a tokenizer's file and the files beside it."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from expert_iter.errors import UserError

_SPARE = re.compile("pad|reserved|unused|control_", re.IGNORECASE)


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
