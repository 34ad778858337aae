"""The tokenizer in a GGUF file, as the files of a Hugging Face directory."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from expert_iter.errors import UserError
from expert_iter.model.weights.gguf_file import GgufFile

_KEY = "tokenizer.ggml."
# Types of tokens, which are those of SentencePiece, too.
_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED, _TYPES = 1, 3, 4, 5, set(range(1, 7))
_BLANK = "\N{LOWER ONE EIGHTH BLOCK}"
# Keys of tokens that end a text: eos_token_id first. A chat model has others beside it.
_ENDS = ("eos_token_id", "eot_token_id", "eom_token_id")
_ROLES = {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}  # theirs -> the file's


class PreTokenizer(NamedTuple):
    """How a published byte-level tokenizer cuts texts before it merges bytes.

    Attributes:
      words: a regular expression of what is cut out whole. '': GPT-2's, which is the library's.
      single_digits: bool. Each digit is cut out first.
      nfc: bool. Texts are brought into Unicode's form NFC.
      ignore_merges: bool. A word that is a piece is taken at once.
      begins_texts: bool. Texts begin with a token of their own, unless the file says otherwise.
    """

    words: str = ""
    single_digits: bool = False
    nfc: bool = False
    ignore_merges: bool = False
    begins_texts: bool = False


_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_WORDS = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|%s| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_REST}"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_BEFORE = r"[^\r\n\p{L}\p{N}]?"
_TEKKEN = (
    rf"{_BEFORE}{_UPPER}*{_LOWER}+|{_BEFORE}{_UPPER}+{_LOWER}*|\p{{N}}"
    rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_REST}"
)
_LLAMA3 = PreTokenizer(_WORDS % r"\p{N}{1,3}", ignore_merges=True, begins_texts=True)
# By `tokenizer.ggml.pre`; as in the tokenizer.json that the models were published with.
PRE_TOKENIZERS = {
    "gpt-2": PreTokenizer(),
    "smollm": PreTokenizer(single_digits=True),
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "qwen2": PreTokenizer(_WORDS % r"\p{N}", nfc=True),
    "tekken": PreTokenizer(_TEKKEN, ignore_merges=True, begins_texts=True),
}


class _Vocabulary(NamedTuple):
    """The pieces by their ids.

    Attributes:
      tokens: texts.
      types: of tokens, see `_CONTROL`.
    """

    tokens: list[str]
    types: list[int]

    def added(self) -> dict[int, dict[str, Any]]:
        """The tokens that are found before a text is cut into pieces, as JSON files list them."""
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        return {
            i: {"content": token, "special": kind == _CONTROL, **flags}
            for i, (token, kind) in enumerate(zip(self.tokens, self.types, strict=True))
            if kind in (_CONTROL, _USER_DEFINED)
        }


def token_keys(file: GgufFile) -> dict[str, Any]:
    """Keys of `config.json` that name tokens."""
    keys = {f"{role}_token_id": _KEY + f"{_ROLES[role]}_token_id" for role in ("bos", "eos", "pad")}
    return {key: file.value(name, int, None) for key, name in keys.items()}


def write_tokenizer(file: GgufFile, directory: Path) -> None:
    """Writes the tokenizer's files and `generation_config.json`.

    Raises UserError where the file's tokenizer is of an unknown kind, or damaged.
    """
    tokens, types = (file.value(_KEY + key, list) for key in ("tokens", "token_type"))
    if len(tokens) != len(types) or not set(types) <= _TYPES:
        raise UserError(f"{file.path}: {_KEY}token_type must name a type for each token")
    vocabulary = _Vocabulary(tokens, types)
    special = {
        f"{role}_token": _token(file, tokens, i)
        for role, key in _ROLES.items()
        if (i := file.value(f"{_KEY}{key}_token_id", int, None)) is not None
    }
    model = file.value(_KEY + "model", str)
    if model == "gpt2":
        config = _write_byte_pairs(file, vocabulary, directory)
    elif model == "llama":
        config = _write_sentencepiece(file, vocabulary, directory)
    else:
        raise UserError(
            f"{file.path}: the tokenizer {model!r} is not supported; there are gpt2 (byte-level "
            "BPE), llama (SentencePiece)"
        )
    config |= special | {"tokenizer_class": "PreTrainedTokenizerFast"}
    if (template := file.value("tokenizer.chat_template", str, None)) is not None:
        config["chat_template"] = template
    config["model_max_length"] = file.own("context_length", int)
    config["clean_up_tokenization_spaces"] = False
    _write(directory / "tokenizer_config.json", config)
    ends = [file.value(_KEY + key, int, None) for key in _ENDS]
    ends = [i for i in dict.fromkeys(ends) if i is not None]
    _write(directory / "generation_config.json", token_keys(file) | {"eos_token_id": ends})


def _write_byte_pairs(file: GgufFile, vocabulary: _Vocabulary, directory: Path) -> dict[str, Any]:
    """Writes `tokenizer.json`; returns further keys of `tokenizer_config.json`."""
    name = file.value(_KEY + "pre", str, "")
    if name not in PRE_TOKENIZERS:
        raise UserError(
            f"{file.path}: the pre-tokenizer {name!r} ({_KEY}pre) is not supported; there are "
            f"{', '.join(PRE_TOKENIZERS)}"
        )
    pre = PRE_TOKENIZERS[name]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    cuts: list[dict[str, Any]] = []
    if pre.single_digits:
        cuts.append({"type": "Digits", "individual_digits": True})
    if pre.words:
        words = {"pattern": {"Regex": pre.words}, "behavior": "Isolated", "invert": False}
        cuts.append({"type": "Split", **words})
    cuts.append(byte_level | {"use_regex": not pre.words})
    bos = _bos(file, pre.begins_texts)
    merges = [merge.split(" ", 1) for merge in file.value(_KEY + "merges", list)]
    content = {
        "normalizer": {"type": "NFC"} if pre.nfc else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": cuts},
        "post_processor": _begin(vocabulary, bos),
        "decoder": byte_level | {"use_regex": True},
    }
    model = {"ignore_merges": pre.ignore_merges, "merges": merges}
    _write_pieces(vocabulary, content, model, directory)
    return {"add_bos_token": bos is not None, "add_prefix_space": False}


def _write_sentencepiece(
    file: GgufFile, vocabulary: _Vocabulary, directory: Path
) -> dict[str, Any]:
    """Writes `tokenizer.model`, and for transformers `tokenizer.json`; returns further keys of
    `tokenizer_config.json`.
    """
    from sentencepiece import sentencepiece_model_pb2 as proto

    scores = file.value(_KEY + "scores", list)
    if len(scores) != len(vocabulary.tokens):
        raise UserError(f"{file.path}: {_KEY}scores must name a score for each token")
    blank = file.value(_KEY + "add_space_prefix", bool, True)
    model = proto.ModelProto()
    for token, score, kind in zip(vocabulary.tokens, scores, vocabulary.types, strict=True):
        # llama.cpp writes SentencePiece's mark for a blank as a blank in what users defined.
        token = token.replace(" ", _BLANK) if kind == _USER_DEFINED else token
        model.pieces.add(piece=token, score=score, type=kind)
    trainer = model.trainer_spec
    trainer.model_type = proto.TrainerSpec.BPE
    trainer.vocab_size = len(vocabulary.tokens)
    trainer.byte_fallback = True
    for role, key in _ROLES.items():
        i = file.value(f"{_KEY}{key}_token_id", int, None)
        setattr(trainer, f"{role}_id", -1 if i is None else i)
        if i is not None:
            setattr(trainer, f"{role}_piece", _token(file, vocabulary.tokens, i))
    normalizer = model.normalizer_spec
    normalizer.name = "identity"
    normalizer.add_dummy_prefix = blank
    normalizer.remove_extra_whitespaces = file.value(_KEY + "remove_extra_whitespaces", bool, False)
    (directory / "tokenizer.model").write_bytes(model.SerializeToString())

    mark = {"type": "Replace", "pattern": {"String": " "}, "content": _BLANK}
    unmark = {"type": "Replace", "pattern": {"String": _BLANK}, "content": " "}
    before = [{"type": "Prepend", "prepend": _BLANK}] if blank else []
    first = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if blank else []
    decoders = [unmark, {"type": "ByteFallback"}, {"type": "Fuse"}, *first]
    bos = _bos(file, True)
    content = {
        "normalizer": {"type": "Sequence", "normalizers": [*before, mark]},
        "pre_tokenizer": None,
        "post_processor": _begin(vocabulary, bos),
        "decoder": {"type": "Sequence", "decoders": decoders},
    }
    pieces = {"unk_token": trainer.unk_piece, "fuse_unk": True, "byte_fallback": True}
    pieces["merges"] = _merges(vocabulary, scores)
    _write_pieces(vocabulary, content, pieces, directory)
    # As llama.cpp, the library puts a blank after special tokens too, which files call legacy.
    return {"add_bos_token": bos is not None, "add_prefix_space": blank, "legacy": blank}


def _merges(vocabulary: _Vocabulary, scores: list[float]) -> list[tuple[str, str]]:
    """The pairs of pieces that make a piece, the best piece first."""
    score = {
        token: score
        for token, score, kind in zip(vocabulary.tokens, scores, vocabulary.types, strict=True)
        if kind == _NORMAL
    }
    pairs = [
        (token[:at], token[at:])
        for token in sorted(score, key=score.__getitem__, reverse=True)
        for at in range(1, len(token))
    ]
    return [pair for pair in pairs if pair[0] in score and pair[1] in score]


def _write_pieces(
    vocabulary: _Vocabulary, content: dict[str, Any], model: dict[str, Any], directory: Path
) -> None:
    """Writes `tokenizer.json` with further keys of its own and of its `model`."""
    pieces = zip(vocabulary.tokens, vocabulary.types, strict=True)
    whole = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, **token} for i, token in vocabulary.added().items()],
        **content,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            # Spare ids are no pieces. Added tokens are, so that their ids are kept.
            "vocab": {token: i for i, (token, kind) in enumerate(pieces) if kind != _UNUSED},
            **model,
        },
    }
    _write(directory / "tokenizer.json", whole)


def _bos(file: GgufFile, begins_texts: bool) -> int | None:
    """The token that texts begin with, if they do.

    begins_texts: where the file does not say whether they do.
    """
    begins = file.value(_KEY + "add_bos_token", bool, begins_texts)
    return file.value(_KEY + "bos_token_id", int, None) if begins else None


def _begin(vocabulary: _Vocabulary, bos: int | None) -> dict[str, Any] | None:
    """What puts a token before each text."""
    if bos is None:
        return None
    token = vocabulary.tokens[bos]
    begin = {"SpecialToken": {"id": token, "type_id": 0}}
    first, second = ({"Sequence": {"id": x, "type_id": n}} for n, x in enumerate("AB"))
    return {
        "type": "TemplateProcessing",
        "single": [begin, first],
        "pair": [begin, first, begin, second],
        "special_tokens": {token: {"id": token, "ids": [bos], "tokens": [token]}},
    }


def _token(file: GgufFile, tokens: list[str], i: int) -> str:
    if not 0 <= i < len(tokens):
        raise UserError(f"{file.path}: the token {i} is none of its {len(tokens)} tokens")
    return tokens[i]


def _write(path: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, ensure_ascii=False, indent=2)
    path.write_text(text + "\n", encoding="utf-8")
