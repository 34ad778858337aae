"""Tokens added beside a SentencePiece model, read alike by us and by transformers."""

import json
import shutil

import pytest
import sentencepiece as spm
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from expert_iter.errors import UserError
from expert_iter.export import text_files
from expert_iter.model.tokenizers.added_tokens import AddedToken, AddedTokens
from expert_iter.model.tokenizers.load_tokenizer import load_tokenizer
from tests.model.tokenizers.keep import keep
from tests.model.tokenizers.test_sentencepiece_model import published

OWN = 400  # pieces of the SentencePiece model
END, START, THINK = OWN, OWN + 1, OWN + 2
ADDED = {"<|im_end|>": END, "<|im_start|>": START, "<think>": THINK}
ROLES = {"bos_token": "<s>", "eos_token": "<|im_end|>", "unk_token": "<unk>"}
CONFIG = ROLES | {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True}
NEVER_STRIPS = dict.fromkeys(["lstrip", "rstrip", "normalized", "single_word"], False)
DECODER = {
    str(i): NEVER_STRIPS | {"content": content, "special": content != "<think>"}
    for content, i in {"<unk>": 0, "<s>": 1, "</s>": 2, **ADDED}.items()
} | {
    "403": NEVER_STRIPS | {"content": "<|tool|>", "special": True, "rstrip": True},
    "404": NEVER_STRIPS | {"content": "</think>", "special": False, "lstrip": True},
    "405": NEVER_STRIPS | {"content": "clip", "special": False, "single_word": True},
}
# By what the files beside tokenizer.model are called.
FOLDERS = {
    "added_tokens": {
        "added_tokens": ADDED,
        "special_tokens_map": ROLES,
        "tokenizer_config": CONFIG,
    },
    "special_tokens_map": {
        "added_tokens": ADDED,
        "special_tokens_map": {"additional_special_tokens": ["<|im_start|>"]}
        | {role: NEVER_STRIPS | {"content": content} for role, content in ROLES.items()},
        "tokenizer_config": {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True},
    },
    "added_tokens_decoder": {"tokenizer_config": CONFIG | {"added_tokens_decoder": DECODER}},
    "without a begin of texts": {
        "added_tokens": ADDED,
        "tokenizer_config": CONFIG | {"add_bos_token": False},
    },
}
MISTRAL, LLAMA = {"model_type": "mistral"}, {"model_type": "llama"}
# (legacy in tokenizer_config.json, config.json): where a prompt has blanks.
BLANKS = [(True, MISTRAL), (None, MISTRAL), (False, MISTRAL), (None, LLAMA), (None, None)]
CHAT = "<|im_start|>user\nHow many clips?<|im_end|>\n<|im_start|>assistant\n"


def write(folder, files):
    (folder / "tokenizer.model").write_bytes(published())
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))


@pytest.fixture(scope="module", params=BLANKS, ids=str)
def blanks(request):
    return request.param


@pytest.fixture(scope="module", params=FOLDERS)
def pair(request, blanks, tmp_path_factory):
    """The tokenizer, as a run keeps it in one file, and transformers' of the checkpoint."""
    (legacy, config), files = blanks, FOLDERS[request.param]
    folder = tmp_path_factory.mktemp("checkpoint")
    if legacy is not None:
        files = files | {"tokenizer_config": files["tokenizer_config"] | {"legacy": legacy}}
    write(folder, files if config is None else files | {"config": config})
    tokenizer = load_tokenizer(folder)
    kept = load_tokenizer(keep(tokenizer, folder / "run"))
    assert kept.ids == tokenizer.ids and kept.vocab_size == tokenizer.vocab_size
    return kept, transformers.AutoTokenizer.from_pretrained(folder)


# Where a text begins with a blank, transformers makes one fewer than SentencePiece for some files.
PARTS = ["How", " many", "\n", "x", "é", "<", "|>", "</s>", "<unk>", " <tool>", "clip", " clip "]
PARTS += [*ADDED, "<|tool|>", "</think>"]
TEXT = st.lists(st.sampled_from(PARTS), min_size=1).map("".join).filter(lambda x: x[0] != " ")


@settings(max_examples=30, deadline=None)
@given(text=TEXT)
def test_a_prompt_is_read_as_transformers_reads_it(pair, text):
    tokenizer, theirs = pair
    assert tokenizer.encode_prompt(text) == theirs(text).input_ids


def test_a_chat_is_read_as_transformers_reads_it(pair):
    tokenizer, theirs = pair
    ids = theirs(CHAT).input_ids
    assert tokenizer.encode_prompt(CHAT) == ids and ids.count(START) == 2
    assert len(ids) < len(tokenizer.encode(CHAT))
    assert tokenizer.vocab_size == len(theirs)
    assert tokenizer.ids.eos == END == theirs.eos_token_id
    assert tokenizer.ids.other_ends == (2,)  # the model's own end of a text still ends it


def test_a_mark_is_no_text_and_another_added_token_is(pair):
    tokenizer, theirs = pair
    text = "3 <think>clips<|im_end|>\n"
    ids = tokenizer.encode(text)
    assert END not in ids and (THINK in ids) == ("<think>" in theirs.get_vocab())
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode([END, *ids, 10**6]) == text
    assert tokenizer.token_text(END) == "" and tokenizer.token_text(THINK) == "<think>"


def test_ids_that_nothing_has_write_nothing(tmp_path):
    write(tmp_path, {"tokenizer_config": ROLES, "added_tokens": ADDED | {"<far>": 410}})
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.vocab_size == 411
    assert tokenizer.decode([407, *tokenizer.encode("a<far>b"), 409]) == "a<far>b"
    assert [tokenizer.token_text(i) for i in (405, 410, 411)] == ["", "<far>", ""]


def test_a_token_may_take_the_place_of_a_piece(tmp_path):
    pieces = spm.SentencePieceProcessor(model_proto=published(user_defined_symbols=["<spare>"]))
    place = pieces.piece_to_id("<spare>")
    decoder = {str(place): NEVER_STRIPS | {"content": "<|call|>", "special": True}}
    config = CONFIG | {"eos_token": "</s>", "added_tokens_decoder": decoder}
    write(tmp_path, {"tokenizer_config": config, "config": MISTRAL})
    (tmp_path / "tokenizer.model").write_bytes(pieces.serialized_model_proto())
    tokenizer = load_tokenizer(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ids = tokenizer.encode_prompt("a<|call|>b")
    assert ids == theirs("a<|call|>b").input_ids and place in ids
    assert tokenizer.vocab_size == len(pieces) and tokenizer.token_text(place) == ""


def test_tokens_that_only_a_tokenizer_json_lists(tmp_path):
    """As transformers 5 saves them."""
    write(tmp_path, {"tokenizer_config": CONFIG | {"added_tokens_decoder": DECODER}})
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    theirs.save_pretrained(tmp_path / "saved")
    shutil.copy(tmp_path / "tokenizer.model", tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "tokenizer_config.json").read_text())
    assert "added_tokens_decoder" not in saved
    tokenizer = load_tokenizer(tmp_path / "saved")
    assert (
        tokenizer.encode_prompt(f"{CHAT}<|tool|> 3")[1:]
        == theirs(f"{CHAT}<|tool|> 3").input_ids[1:]
    )


def test_an_exported_tokenizer_is_read_alike(tmp_path):
    (tmp_path / "checkpoint").mkdir()
    write(tmp_path / "checkpoint", FOLDERS["added_tokens"])
    tokenizer = load_tokenizer(tmp_path / "checkpoint")
    keep(tokenizer, tmp_path / "run")
    (tmp_path / "out").mkdir()
    files = text_files(tmp_path / "run", str(tmp_path / "checkpoint"), tokenizer.file_name)
    for file in files:
        shutil.copy(file, tmp_path / "out")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.encode_prompt(CHAT) == theirs(CHAT).input_ids


@pytest.mark.parametrize(
    "files",
    [
        {"added_tokens": {"<x>": "many"}},
        {"added_tokens": {"<x>": -1}},
        {"added_tokens": {"": 400}},
        {"tokenizer_config": {"added_tokens_decoder": {"one": {"content": "<x>"}}}},
        {"tokenizer_config": {"added_tokens_decoder": {"400": {"special": True}}}},
        {"tokenizer_config": {"added_tokens_decoder": ["<x>"]}},
        {"tokenizer": {"added_tokens": [{"content": "<x>"}]}},
    ],
    ids=str,
)
def test_damaged_lists_of_added_tokens(files, tmp_path):
    write(tmp_path, files)
    with pytest.raises(UserError, match=f"{tmp_path}: its JSON files are damaged where they list"):
        load_tokenizer(tmp_path)


def test_a_text_is_cut_at_its_added_tokens():
    short, long = AddedToken(1, "<a>"), AddedToken(2, "<a><b>")
    left, right = AddedToken(3, "[l]", lstrip=True), AddedToken(4, "[r]", rstrip=True)
    word = AddedToken(5, "and", single_word=True)
    split = AddedTokens([short, long, left, right, word]).split
    assert split("") == [""] and split("a <b>") == ["a <b>"]
    assert split("<a>x<a><b>") == ["", short, "x", long, ""]
    assert split("x \n[l] [r]\t y") == ["x", left, " ", right, "y"]
    assert split("sand and,and_") == ["sand ", word, ",and_"]
    assert AddedTokens([]).split("<a>") == ["<a>"]


def test_an_end_of_texts_that_only_the_added_tokens_have(tmp_path):
    write(tmp_path, FOLDERS["added_tokens"])
    (tmp_path / "tokenizer.model").write_bytes(published(eos_id=-1))
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.ids.ends == (END,)
    assert load_tokenizer(keep(tokenizer, tmp_path / "run")).ids == tokenizer.ids
