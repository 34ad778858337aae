import io

import pytest
import sentencepiece as spm
from hypothesis import given, settings
from hypothesis import strategies as st

from expert_iter.errors import UserError
from expert_iter.model.tokenizer import Tokenizer, TokenizerConfig
from expert_iter.tasks import load_task

PROSE = [
    "Natalia sold 48 clips in April,\n  and half as many in May.\n",
    "How many clips did she sell altogether?\tThe answer is 72.",
] * 20
BLANK = "\N{LOWER ONE EIGHTH BLOCK}"


@pytest.fixture(scope="module")
def countdown(tmp_path_factory):
    task = load_task("countdown", {"train_size": 200})
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    return Tokenizer.train(task.sample_texts(200, seed=0), task.symbols(), TokenizerConfig(), path)


@pytest.fixture(scope="module")
def prose(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    config = TokenizerConfig(vocab_size=330, byte_fallback=True)
    return Tokenizer.train(PROSE, [], config, path)


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
    controls = {countdown.pad_id, countdown.bos_id, countdown.eos_id}
    assert len(controls) == 3 and countdown.decode(sorted(controls)) == ""
    assert countdown.encode("\n") == [countdown.newline_id]


@pytest.mark.parametrize("name", ["countdown", "game24"])
def test_the_tasks_own_texts_come_back(name, tmp_path):
    task = load_task(name)
    texts = task.sample_texts(300, seed=1)
    tokenizer = Tokenizer.train(texts, task.symbols(), TokenizerConfig(), tmp_path / "t.model")
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


def test_characters_beside_the_symbols_get_pieces(tmp_path):
    tokenizer = Tokenizer.train(["a12 b"], ["12", " "], TokenizerConfig(), tmp_path / "t.model")
    assert pieces(tokenizer, "ab12 \n") == ["a", "b", "12", " ", "\n"]
    assert tokenizer.vocab_size == 4 + 5


def test_training_is_deterministic_silent_and_saved(countdown, tmp_path, capfd):
    task = load_task("countdown", {"train_size": 200})
    texts = task.sample_texts(200, seed=0)
    path = tmp_path / "new" / "t.model"
    Tokenizer.train(texts, task.symbols(), TokenizerConfig(), path)
    assert capfd.readouterr() == ("", "")
    countdown.save(tmp_path / "again.model")
    assert path.read_bytes() == (tmp_path / "again.model").read_bytes()
    loaded = Tokenizer.load(path)
    assert loaded.encode(texts[0]) == countdown.encode(texts[0])
    assert [file.name for file in path.parent.iterdir()] == ["t.model"]


def test_damaged_or_missing_models(countdown, tmp_path):
    with pytest.raises(UserError, match="none.model cannot be read: No such file"):
        Tokenizer.load(tmp_path / "none.model")
    path = tmp_path / "t.model"
    countdown.save(path)
    whole = path.read_bytes()
    for damaged in (b"", b"garbage", whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="t.model"):
            Tokenizer.load(path)


def test_a_model_without_needed_pieces(tmp_path):
    model = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(PROSE), model_writer=model, vocab_size=40, minloglevel=2
    )
    (tmp_path / "t.model").write_bytes(model.getvalue())
    with pytest.raises(UserError, match="has no padding and no newline piece"):
        Tokenizer.load(tmp_path / "t.model")


def test_impossible_vocabularies(tmp_path):
    for config in ({"vocab_size": 3}, {"vocab_size": 200, "byte_fallback": True}):
        with pytest.raises(UserError, match="tokenizer.vocab_size="):
            TokenizerConfig(**config)
    with pytest.raises(UserError, match="tokenizer.vocab_size=6 "):
        Tokenizer.train(PROSE, [], TokenizerConfig(vocab_size=6), tmp_path / "t.model")
