import json
import sys
import unicodedata

import pytest
import tokenizers
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, decoders, normalizers, pre_tokenizers, processors

from expert_iter.errors import UserError
from expert_iter.model.tokenizers.bpe import BytePairTokenizer
from expert_iter.model.tokenizers.load_tokenizer import load_tokenizer
from tests.model.tokenizers.keep import keep

TEXTS = [
    "Natalia sold 48 clips in April (twice).\n\nSo she sold: 24 / 2 = 12 \n",
    "def f(x):\n    return g(x)\n\n\nprint(f(12))\r\n",
] * 40
# How the two families cut text into words, as published: a newline joins what stands before it.
DIGITS = {"qwen": r"\p{N}", "llama": r"\p{N}{1,3}"}
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|DIGITS"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL = {
    "qwen": ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_pad|>"],
    "llama": [
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|reserved_special_token_0|>",
        "<|eom_id|>",
        "<|eot_id|>",
    ],
}
DECLARED = {
    "qwen": {"bos_token": None, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
    "llama": {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"},
}
ENDS = {
    "qwen": ["<|im_end|>", "<|endoftext|>"],
    "llama": ["<|end_of_text|>", *SPECIAL["llama"][3:]],
}


def library(family, missing=""):
    """A tiny tokenizer in the published form of a family, by the library alone.

    missing: characters for bytes that have no piece.
    """
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    words = Regex(WORDS.replace("DIGITS", DIGITS[family]))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=sorted(set(pre_tokenizers.ByteLevel.alphabet()) - set(missing)),
        special_tokens=["<unk>"] if missing else [],
        show_progress=False,
    )
    made.train_from_iterator(TEXTS, trainer)
    made.add_special_tokens([AddedToken(text, special=True) for text in SPECIAL[family]])
    made.add_tokens([AddedToken("<think>", special=False)])
    if family == "qwen":
        made.normalizer = normalizers.NFC()
    else:
        begin = SPECIAL["llama"][0]
        made.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A", special_tokens=[(begin, made.token_to_id(begin))]
        )
    return made


def write_checkpoint(folder, family):
    """A checkpoint's folder as the family's chat models have it."""
    made = library(family)
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(DECLARED[family]))
    ends = {"eos_token_id": [made.token_to_id(text) for text in ENDS[family]]}
    (folder / "generation_config.json").write_text(json.dumps(ends))
    return made


@pytest.fixture(scope="module", params=["qwen", "llama"])
def pair(request, tmp_path_factory):
    """The tokenizer, and the library's own of the same file."""
    folder = tmp_path_factory.mktemp(request.param)
    made = write_checkpoint(folder, request.param)
    return load_tokenizer(folder), made


TEXT = st.text(st.sampled_from(" \n\r\t(.)12af'é\u0301") | st.characters(codec="utf-8"))


@settings(max_examples=200, deadline=None)
@given(prompt=TEXT, solution=TEXT)
def test_a_solution_goes_on_after_its_prompt(pair, prompt, solution):
    tokenizer, made = pair
    if made.normalizer:
        prompt, solution = (unicodedata.normalize("NFC", text) for text in (prompt, solution))
    ids = tokenizer.encode_prompt(prompt) + tokenizer.encode(solution)
    assert tokenizer.decode(ids) == prompt + solution
    assert tokenizer.encode(solution) == made.encode(solution, add_special_tokens=False).ids
    assert made.decode(ids, skip_special_tokens=True) == prompt + solution


def test_newlines_join_other_characters(pair):
    tokenizer, _ = pair
    texts = {tokenizer.token_text(i) for i in range(tokenizer.vocab_size)}
    assert {").\n\n", " \n", "\n", ")\n\n\n"} <= texts
    assert [tokenizer.token_text(i) for i in tokenizer.encode("2 \n")] == ["2", " \n"]
    assert tokenizer.token_text(tokenizer.ids.newline) == "\n"


def test_what_a_token_writes(pair):
    tokenizer, made = pair
    for i in range(tokenizer.vocab_size):
        assert tokenizer.token_text(i) == made.decode([i], skip_special_tokens=True)
    assert [tokenizer.token_text(i) for i in tokenizer.encode("é")] == ["\ufffd"] * 2
    assert "<think>" in [tokenizer.token_text(i) for i in tokenizer.encode("a<think>b")]


def test_an_added_token_writes_what_it_says(tmp_path):
    made = write_checkpoint(tmp_path, "llama")
    made.add_tokens([AddedToken("<éĊ>", special=False)])  # in a piece, these would be two bytes
    made.save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_tokenizer(tmp_path)
    ids = tokenizer.encode("a<éĊ>b")
    assert made.token_to_id("<éĊ>") in ids and tokenizer.decode(ids) == "a<éĊ>b"


def test_the_marks_of_qwen(tmp_path):
    made = write_checkpoint(tmp_path, "qwen")
    tokenizer, i = load_tokenizer(tmp_path), made.token_to_id
    # Its declared padding also ends texts: another special token takes its place.
    assert tokenizer.ids == (
        i("<|vision_pad|>"),
        None,
        i("<|im_end|>"),
        i("Ċ"),
        (i("<|endoftext|>"),),
    )
    assert tokenizer.ids.never == (i("<|vision_pad|>"),)
    assert tokenizer.encode_prompt("3 5") == made.encode("3 5").ids
    assert tokenizer.vocab_size == made.get_vocab_size()


def test_the_marks_of_llama(tmp_path):
    made = write_checkpoint(tmp_path, "llama")
    tokenizer, i = load_tokenizer(tmp_path), made.token_to_id
    assert tokenizer.ids == (
        i("<|reserved_special_token_0|>"),
        i("<|begin_of_text|>"),
        i("<|eot_id|>"),
        i("Ċ"),
        (i("<|end_of_text|>"), i("<|eom_id|>")),
    )
    assert tokenizer.encode_prompt("3 5") == made.encode("3 5").ids


def test_a_chat_prompt(pair):
    tokenizer, made = pair
    special = SPECIAL["qwen" if tokenizer.ids.bos is None else "llama"]
    chat = f"{special[1]}user\nHow (many)?\n{special[2]}\n"
    ids = made.encode(chat).ids
    assert tokenizer.encode_prompt(chat) == ids
    if tokenizer.ids.bos is not None:  # a template may write the begin of the text itself
        assert tokenizer.encode_prompt(special[0] + chat) == ids
    marks = {made.token_to_id(text) for text in special}
    for text in (chat, "".join(special), f"<{special[0]}>", *special):
        assert not marks & set(tokenizer.encode(text))
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.decode([*marks, -1, 10**6, *tokenizer.encode("7")]) == "7"


def test_white_space_that_belongs_to_a_mark(tmp_path):
    made = write_checkpoint(tmp_path, "llama")
    strips = [AddedToken("<|l|>", lstrip=True), AddedToken("<|r|>", rstrip=True)]
    made.add_special_tokens(strips)
    made.save(str(tmp_path / "tokenizer.json"))
    keep(load_tokenizer(tmp_path), tmp_path / "run")
    for text in ("a \n<|l|> b", "a <|r|>\n\n b", "<|r|> <|l|>", " <|l|>  <|r|>\t"):
        ids = made.encode(text).ids
        assert load_tokenizer(tmp_path / "run").encode_prompt(text) == ids


def test_a_kept_tokenizer_needs_no_other_file(pair, tmp_path):
    tokenizer, made = pair
    path = keep(tokenizer, tmp_path / "run")
    again = load_tokenizer(path)
    assert again.ids == tokenizer.ids and again.vocab_size == tokenizer.vocab_size
    assert path.name == "tokenizer.json"
    for text in (*TEXTS[:2], "<|im_start|>é<|eot_id|>"):
        assert again.encode_prompt(text) == tokenizer.encode_prompt(text)
    assert again.file == tokenizer.file
    others = tokenizers.Tokenizer.from_file(str(path))  # others can read it too
    assert others.encode(TEXTS[0]).ids == made.encode(TEXTS[0]).ids


def test_without_the_package(pair, tmp_path, monkeypatch):
    path = keep(pair[0], tmp_path / "run")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(UserError, match=r"pip install 'expert_iter\[bpe\]'"):
        load_tokenizer(path)


def test_a_begin_of_text_that_the_file_does_not_write(tmp_path):
    made = write_checkpoint(tmp_path, "qwen")
    declared = DECLARED["qwen"] | {"bos_token": "<|im_start|>"}
    for add, bos in [(True, made.token_to_id("<|im_start|>")), (False, None), (None, None)]:
        (tmp_path / "tokenizer_config.json").write_text(
            json.dumps(declared | {"add_bos_token": add})
        )
        tokenizer = load_tokenizer(tmp_path)
        assert tokenizer.ids.bos == bos
        assert tokenizer.encode_prompt("7") == [bos] * (bos is not None) + tokenizer.encode("7")


def broken(change):
    content = json.loads(library("qwen").to_str())
    change(content)
    return json.dumps(content)


def rename_newline(content):
    model = content["model"]
    model["vocab"] = {text.replace("Ċ", "x y"): i for text, i in model["vocab"].items()}
    model["merges"] = []


@pytest.mark.parametrize(
    "file, message",
    [
        (lambda: "", "is no tokenizer.json, or is damaged"),
        (lambda: "[1]", "is no tokenizer.json, or is damaged"),
        (lambda: broken(lambda c: c["model"].pop("merges")), "is damaged: Missing"),
        (lambda: broken(lambda c: c.update(decoder={"type": "Fuse"})), "not a byte-level BPE"),
        (lambda: broken(lambda c: c["model"].update(type="WordLevel")), "not a byte-level BPE"),
        (lambda: broken(rename_newline), "has no newline piece"),
        (lambda: broken(lambda c: c.update(normalizer={"type": "Prepend", "prepend": " "})),
         "does not keep texts as they are"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_used(file, message, tmp_path):
    write_checkpoint(tmp_path, "qwen")
    (tmp_path / "tokenizer.json").write_text(file())
    with pytest.raises(UserError, match=message):
        load_tokenizer(tmp_path)


def test_marks_that_are_missing_or_wrong(tmp_path):
    made = write_checkpoint(tmp_path, "qwen")
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": 2}')
    with pytest.raises(UserError, match="has no special token 2, which the files beside it name"):
        load_tokenizer(tmp_path)
    (tmp_path / "generation_config.json").unlink()
    (tmp_path / "tokenizer_config.json").unlink()
    with pytest.raises(UserError, match="has no end-of-text piece"):
        BytePairTokenizer.load(tmp_path / "tokenizer.json")
    ends = [made.token_to_id(text) for text in SPECIAL["qwen"]]
    (tmp_path / "config.json").write_text(json.dumps({"text_config": {"eos_token_id": ends}}))
    assert load_tokenizer(tmp_path).ids.pad == ends[0]  # no token is free for it
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": ends[0]}))
    assert load_tokenizer(tmp_path).ids.ends == (ends[0],)


# Bytes that SmolLM2 has no piece for: of control characters, and those that are in no UTF-8 text.
MISSING_BYTES = (
    b"\x04\x06\x13\x14\x16\x1d\xc0\xc1\xf1\xf2\xf5\xf6\xf7\xf8\xf9\xfa\xfb\xfc\xfd\xfe\xff"
)
MISSING_CHARACTERS = "ĄĆēĔĖĝÀÁñòõö÷øùúûüýþÿ"  # as GPT-2 writes these bytes in pieces
ANY_TEXT = st.text(st.sampled_from("\x04\x1d\U00050000 \n1a") | st.characters(codec="utf-8"))


def without_some_bytes(folder, unknown):
    """A checkpoint's folder, and what transformers makes of its tokenizer.json."""
    made = library("qwen", MISSING_CHARACTERS)
    made.model.unk_token = unknown
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>"}))
    return transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))


@pytest.fixture(scope="module", params=[None, "<unk>"])
def incomplete(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("incomplete")
    fast = without_some_bytes(folder, request.param)
    path = keep(load_tokenizer(folder), folder / "run")
    return load_tokenizer(path), fast, request.param


@settings(max_examples=200, deadline=None)
@given(text=ANY_TEXT)
def test_what_needs_a_missing_byte_is_refused_or_unknown(incomplete, text):
    tokenizer, fast, unknown = incomplete
    text = unicodedata.normalize("NFC", text)
    lost = [c for c in dict.fromkeys(text) if set(c.encode()) & set(MISSING_BYTES)]
    if lost and unknown is None:  # the library leaves the byte out
        for encode in (tokenizer.encode, tokenizer.encode_prompt):
            with pytest.raises(UserError) as error:
                encode(text)
            named = ", ".join(map(repr, lost[:5]))
            assert f"the tokenizer has no piece for {named}: leave it out" in str(error.value)
        return
    ids = fast(text, add_special_tokens=False).input_ids
    assert tokenizer.encode(text) == tokenizer.encode_prompt(text) == ids
    assert (fast.convert_tokens_to_ids("<unk>") in ids) == bool(lost)
    if not lost:
        assert tokenizer.decode(ids) == text


def test_an_unknown_token_writes_nothing(incomplete):
    tokenizer, fast, unknown = incomplete
    i = fast.convert_tokens_to_ids("<unk>")
    if unknown:
        assert tokenizer.decode(tokenizer.encode("a\x04\x04b")) == "ab"
        assert tokenizer.token_text(i) == ""
        assert tokenizer.encode_prompt("a<unk>b") == tokenizer.encode("a\x04b")
    assert i not in tokenizer.encode("<unk>")


def test_an_unknown_token_that_begins_or_ends_texts_is_not_written(tmp_path):
    fast = without_some_bytes(tmp_path, "<unk>")
    assert load_tokenizer(tmp_path).encode("\x04") == [fast.convert_tokens_to_ids("<unk>")]
    for roles in ({"eos_token": "<unk>"}, DECLARED["qwen"] | {"bos_token": "<unk>"}):
        config = json.dumps(roles | {"add_bos_token": True})
        (tmp_path / "tokenizer_config.json").write_text(config)
        with pytest.raises(UserError, match=r"no piece for '\\x04'"):
            load_tokenizer(tmp_path).encode("a\x04")
