import io
import json

import numpy as np
import pytest
import sentencepiece as spm
from hypothesis import given, settings
from hypothesis import strategies as st

from expert_iter.errors import UserError
from expert_iter.model.tokenizers.load_tokenizer import load_tokenizer
from expert_iter.model.tokenizers.sentencepiece_model import SentencePieceTokenizer, TokenizerConfig
from expert_iter.tasks import load_task
from tests.model.tokenizers.keep import keep

PROSE = [
    "Natalia sold 48 clips in April,\n  and half as many in May.\n",
    "How many clips did she sell altogether?\tThe answer is 72.",
] * 20
BLANK = "\N{LOWER ONE EIGHTH BLOCK}"


@pytest.fixture(scope="module")
def countdown():
    task = load_task("countdown", {"train_size": 200})
    texts = task.sample_texts(200, seed=0)
    return SentencePieceTokenizer.train(texts, task.symbols(), TokenizerConfig())


@pytest.fixture(scope="module")
def prose():
    config = TokenizerConfig(vocab_size=330, byte_fallback=True)
    return SentencePieceTokenizer.train(PROSE, [], config)


def published(**options):
    """The bytes of a model made as Llama 2's was: with a blank before each text, and no piece for
    the newline but its byte.
    """
    model = io.BytesIO()
    defaults = dict(
        model_type="bpe",
        vocab_size=400,
        hard_vocab_limit=False,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=True,
        allow_whitespace_only_pieces=True,
        split_digits=True,
        pad_id=-1,
        minloglevel=2,
    )
    lines = [line for text in PROSE for line in text.splitlines()]
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, **(defaults | options)
    )
    return model.getvalue()


TURN, END = "<start_of_turn>", "<end_of_turn>"


def write_gemma(folder):
    """A checkpoint's folder as Gemma's: marks of the chat are ordinary symbols to SentencePiece."""
    symbols = ["\n", "\n\n", "  ", "<table>", TURN, END]
    ids = dict(pad_id=0, eos_id=1, bos_id=2, unk_id=3)
    model = published(add_dummy_prefix=False, user_defined_symbols=symbols, **ids)
    (folder / "tokenizer.model").write_bytes(model)
    pieces = spm.SentencePieceProcessor(model_proto=model)
    texts = ["<pad>", "</s>", "<s>", "<unk>", TURN, END, "<table>"]
    added = {
        str(pieces.piece_to_id(text)): {"content": text, "special": text != "<table>"}
        for text in texts
    }
    config = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "added_tokens_decoder": added}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    ends = {"eos_token_id": [1, pieces.piece_to_id(END)], "pad_token_id": 0}
    (folder / "generation_config.json").write_text(json.dumps(ends))
    return pieces


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    path = tmp_path_factory.mktemp("llama") / "tokenizer.model"
    path.write_bytes(published())
    return load_tokenizer(path)


@pytest.fixture(scope="module")
def gemma(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gemma")
    write_gemma(folder)
    return load_tokenizer(folder)


def pieces(tokenizer, text):
    return [tokenizer.decode([i]) for i in tokenizer.encode(text)]


def test_a_step_is_ten_pieces(countdown):
    expected = ["3", " + ", "5", " = ", "8", " : ", "7", " ", "8", "\n"]
    assert pieces(countdown, "3 + 5 = 8 : 7 8\n") == expected
    assert pieces(countdown, "3 12 100 -> 15\n") == ["3", " ", "12", " ", "100", " -> ", "15", "\n"]


def test_the_longest_number_that_fits_is_one_piece(countdown):
    assert pieces(countdown, "137") == ["13", "7"]
    assert pieces(countdown, "-8/3 - -2") == ["-", "8", "/", "3", " - ", "-", "2"]


def test_the_vocabulary_is_the_symbols_and_four_controls(countdown):
    assert countdown.vocab_size == 4 + len(load_task("countdown").symbols()) == 116
    controls = {countdown.ids.pad, countdown.ids.bos, countdown.ids.eos}
    assert len(controls) == 3 and countdown.decode(sorted(controls)) == ""
    assert countdown.encode("\n") == [countdown.ids.newline]


@pytest.mark.parametrize("name", ["countdown", "game24"])
def test_the_tasks_own_texts_come_back(name):
    task = load_task(name)
    texts = task.sample_texts(300, seed=1)
    tokenizer = SentencePieceTokenizer.train(texts, task.symbols(), TokenizerConfig())
    for text in texts + [problem.prompt for problem in task.problems("test")]:
        assert tokenizer.decode(tokenizer.encode(text)) == text


@settings(max_examples=300, deadline=None)
@given(text=st.text("0123456789 /-\n"))
def test_arithmetic_is_lossless(countdown, text):
    assert countdown.decode(countdown.encode(text)) == text


@settings(max_examples=300, deadline=None)
@given(text=st.text().filter(lambda text: BLANK not in text))
def test_prose_is_lossless(prose, text):
    assert prose.decode(prose.encode(text)) == text


def test_prose_has_a_piece_a_digit_and_a_newline(prose):
    assert pieces(prose, "48\n\n") == ["4", "8", "\n", "\n"]
    assert prose.vocab_size == 330
    assert len(prose.encode(PROSE[0])) < len(PROSE[0]) / 1.3


def test_what_cannot_be_written_is_refused(countdown, prose):
    with pytest.raises(UserError, match="no piece for 'x', 'é'"):
        countdown.encode("3 x 5é")
    for tokenizer in (countdown, prose):  # it would come back as a blank
        with pytest.raises(UserError, match=f"no piece for '{BLANK}'"):
            tokenizer.encode(f"3{BLANK}5")


def test_characters_beside_the_symbols_get_pieces():
    tokenizer = SentencePieceTokenizer.train(["a12 b"], ["12", " "], TokenizerConfig())
    assert pieces(tokenizer, "ab12 \n") == ["a", "b", "12", " ", "\n"]
    assert tokenizer.vocab_size == 4 + 5


def test_training_is_deterministic_and_silent(countdown, tmp_path, capfd):
    task = load_task("countdown", {"train_size": 200})
    texts = task.sample_texts(200, seed=0)
    again = SentencePieceTokenizer.train(texts, task.symbols(), TokenizerConfig())
    assert capfd.readouterr() == ("", "")
    assert again.file == countdown.file
    (tmp_path / "t.model").write_bytes(again.file)
    loaded = SentencePieceTokenizer.load(tmp_path / "t.model")
    assert loaded.encode(texts[0]) == countdown.encode(texts[0])


def test_damaged_or_missing_models(countdown, tmp_path):
    with pytest.raises(UserError, match="none.model cannot be read: No such file"):
        SentencePieceTokenizer.load(tmp_path / "none.model")
    path, whole = tmp_path / "t.model", countdown.file
    for damaged in (b"", b"garbage", whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="t.model"):
            SentencePieceTokenizer.load(path)


def test_models_that_cannot_be_used(tmp_path):
    rewriting = {"normalization_rule_name": "nmt_nfkc"}  # makes blanks of newlines
    squeezing = {"remove_extra_whitespaces": True, "user_defined_symbols": ["\n"]}
    for options, message in [
        ({"byte_fallback": False}, "has no newline piece"),
        (rewriting, "does not keep blanks and newlines"),
        (squeezing, "does not keep blanks and newlines"),
        ({"eos_id": -1}, "has no end-of-text piece"),
    ]:
        (tmp_path / "t.model").write_bytes(published(**options))
        with pytest.raises(UserError, match=message):
            SentencePieceTokenizer.load(tmp_path / "t.model")


def test_impossible_vocabularies():
    for config in ({"vocab_size": 3}, {"vocab_size": 200, "byte_fallback": True}):
        with pytest.raises(UserError, match="tokenizer.vocab_size="):
            TokenizerConfig(**config)
    with pytest.raises(UserError, match="tokenizer.vocab_size=6 "):
        SentencePieceTokenizer.train(PROSE, [], TokenizerConfig(vocab_size=6))


TEXT = st.text(st.sampled_from(" \n\tab1é<>/s") | st.characters(codec="utf-8")).filter(
    lambda text: BLANK not in text and "<s>" not in text
)


@settings(max_examples=300, deadline=None)
@given(prompt=TEXT, solution=TEXT)
def test_a_solution_goes_on_after_its_prompt(llama, gemma, prompt, solution):
    for tokenizer in (llama, gemma):
        ids = tokenizer.encode_prompt(prompt) + tokenizer.encode(solution)
        assert tokenizer.decode(ids) == prompt + solution
        assert tokenizer.decode(tokenizer.encode(solution)) == solution


def test_a_prompt_begins_as_the_model_was_made_to_see_it(llama):
    raw = spm.SentencePieceProcessor(model_proto=published())
    for text in ("How many clips?", " in May", "\n\n", "1é"):
        assert llama.encode_prompt(text) == [raw.bos_id(), *raw.encode(text)]
    blank = raw.piece_to_id(BLANK)
    assert raw.encode("7")[0] == blank and blank not in llama.encode("7\n7")


def test_a_newline_may_be_a_byte(llama):
    raw = spm.SentencePieceProcessor(model_proto=published())
    assert llama.encode("\n\n") == [raw.piece_to_id("<0x0A>")] * 2
    assert llama.ids.newline == raw.piece_to_id("<0x0A>")
    # Nothing but the token for unknown text is free to be padding.
    assert llama.ids == (raw.unk_id(), raw.bos_id(), raw.eos_id(), llama.ids.newline, ())
    assert llama.ids.never == (raw.unk_id(), raw.bos_id())


def test_what_a_token_writes(llama, gemma, countdown):
    for tokenizer in (llama, gemma):
        texts = [tokenizer.token_text(i) for i in tokenizer.encode(PROSE[0] + "é")]
        assert "".join(texts) == PROSE[0] + "\ufffd\ufffd"
        assert any(len(text) > 1 and text[0] == " " for text in texts)
        assert {tokenizer.token_text(i) for i in (tokenizer.ids.pad, *tokenizer.ids.ends)} == {""}
        assert tokenizer.token_text(tokenizer.ids.newline) == "\n"
    assert [countdown.token_text(i) for i in countdown.encode("3 + 5")] == ["3", " + ", "5"]


def test_marks_of_a_checkpoint(gemma, tmp_path):
    raw = write_gemma(tmp_path)
    turn, end = raw.piece_to_id([TURN, END])
    assert gemma.ids == (0, 2, 1, raw.piece_to_id("\n"), (end,)) and gemma.ids.ends == (1, end)
    chat = f"{TURN}user\n3 <table>{END}\n"
    ids = [turn, *raw.encode("user\n3 <table>"), end, *raw.encode("\n")]
    assert gemma.encode_prompt(chat) == gemma.encode_prompt("<s>" + chat) == [2, *ids]
    assert gemma.decode(ids) == "user\n3 <table>\n"
    assert gemma.decode([*ids, 0, 2, 1, -1, 10**6]) == gemma.decode(ids)
    assert gemma.encode_prompt("a<pad>")[-1] == 0  # as transformers reads it
    # A model that writes the text of a mark does not write the mark.
    for text in (chat, TURN * 2, f"<{END}>", "<s></s>", "<pad>"):
        assert not {turn, end, 0, 1, 2} & set(gemma.encode(text))
        assert gemma.decode(gemma.encode(text)) == text


def test_a_kept_tokenizer_needs_no_other_file(gemma, llama, tmp_path):
    for name, tokenizer in (("gemma", gemma), ("llama", llama)):
        path = keep(tokenizer, tmp_path / name)
        again = load_tokenizer(path)
        assert again.ids == tokenizer.ids and path.name == "tokenizer.model"
        text = f"{TURN}3 clips{END}"
        assert again.encode_prompt(text) == tokenizer.encode_prompt(text)
        assert again.encode(text) == tokenizer.encode(text)
        assert again.file == tokenizer.file
        spm.SentencePieceProcessor(model_file=str(path))  # others can read it too
    assert path.read_bytes() == published()  # what it says by itself is not said again


def test_which_file_of_a_folder(tmp_path):
    with pytest.raises(UserError, match="holds neither a tokenizer.model nor a tokenizer.json"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"IQ== 0\nIg== 1\n")
    with pytest.raises(UserError, match="is in tiktoken's format: use the tokenizer.json"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="tokenizer.json is no tokenizer.json, or is damaged"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(published())
    assert isinstance(load_tokenizer(tmp_path), SentencePieceTokenizer)


def test_files_that_name_wrong_marks(llama, tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(llama.file)
    ordinary = llama.encode("7")[-1]
    for name, content, message in [
        ("generation_config.json", {"eos_token_id": ordinary}, f"has no special token {ordinary}"),
        ("generation_config.json", {"eos_token_id": [2, 9999]}, "has no special token 9999"),
        ("tokenizer_config.json", {"eos_token": "<|im_end|>"}, "has no special token '<.im_end.>'"),
        ("tokenizer_config.json", {"unk_token": "<unk>", "eos_token": "<unk>"}, "no special token"),
        ("config.json", [], "config.json is damaged"),
    ]:
        (tmp_path / name).write_text(json.dumps(content))
        with pytest.raises(UserError, match=message):
            load_tokenizer(tmp_path)
        (tmp_path / name).unlink()
    (tmp_path / "tokenizer_config.json").write_text('{"add_bos_token": false, "pad_token": "7"}')
    without = load_tokenizer(tmp_path)
    assert without.ids.bos is None and without.ids.pad == 0 and without.ids.never == (0,)
    raw = spm.SentencePieceProcessor(model_proto=published())
    assert without.encode_prompt("a b") == raw.encode("a b")
    assert without.decode(without.encode("a b") + without.encode(" c")) == "a b c"


def test_half_a_character_is_refused(llama):
    with pytest.raises(UserError, match="no valid Unicode"):
        llama.encode_prompt("a\ud800")


@pytest.mark.parametrize("name", ["countdown", "prose", "llama", "gemma"])
def test_texts_decoded_at_once_are_those_decoded_one_by_one(name, request):
    """With special tokens, tokens beside the vocabulary and empty texts among them."""
    tokenizer, rng = request.getfixturevalue(name), np.random.default_rng(0)
    size = tokenizer.vocab_size + 2
    texts = [rng.integers(0, size, rng.integers(0, 9)).tolist() for _ in range(200)]
    begin = [] if tokenizer.ids.bos is None else [tokenizer.ids.bos]
    texts += [[], [*begin, 5, 6], [tokenizer.ids.eos], list(range(20))]
    for order in (texts, texts[::-1], [[]], []):
        assert tokenizer.decode_all(order) == [tokenizer.decode(ids) for ids in order]
