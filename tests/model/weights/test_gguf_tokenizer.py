"""Tokenizers in GGUF files: ours and transformers' of what is written, and the one before."""

import io
import json

import pytest
import sentencepiece as spm
import tokenizers
import transformers
from sentencepiece import sentencepiece_model_pb2

from expert_iter.model.tokenizers.load_tokenizer import load_tokenizer
from tests.model.tokenizers.test_bpe import TEXTS, write_checkpoint

gguf = pytest.importorskip("gguf")

from expert_iter.model.weights.gguf_import import import_gguf  # noqa: E402
from tests.model.weights import gguf_files  # noqa: E402

HARD = [
    "12345 + 678 = 13023",
    "  two  blanks, \ttabs \n\n\n and lines \n",
    "\r\nWindows\r\n",
    "cafe\u0301 caf\u00e9 \u00dcn\u00efc\u00f6d\u00e9",
    "emoji \U0001f600\U0001f468\u200d\U0001f469 \u4e2d\u6587 \u0663\u0664\u0665 \u00bd\u2167",
    "it's I'LL they've don't",
    "def f(x):\n    return x**2  # 42\n",
    "HTTPServer camelCase a/b//c 3.14%",
    "<|im_start <think>yes</think>",
]
# Each as its published tokenizer.json has it.
PUBLISHED = {
    "gpt-2": tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False),
    "smollm": tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Digits(individual_digits=True),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    ),
}


def imported(tmp_path, tokenizer, family="llama2"):
    """The directory that a file with this tokenizer becomes."""
    model = gguf_files.make(family, len(tokenizer["tokenizer.ggml.tokens"]))
    path = gguf_files.write(tmp_path / "model.gguf", family, model, tokenizer)
    import_gguf(path, tmp_path / "out", "float32")
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("pre", "family"), [("llama-bpe", "llama"), ("qwen2", "qwen"), ("gpt-2", ""), ("smollm", "")]
)
def test_byte_pairs_are_those_of_the_published_tokenizer(pre, family, tmp_path):
    folder = tmp_path / "before"
    folder.mkdir()
    if family:
        write_checkpoint(folder, family)
    else:
        made = tokenizers.Tokenizer(tokenizers.models.BPE())
        made.pre_tokenizer, made.decoder = PUBLISHED[pre], tokenizers.decoders.ByteLevel()
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=400,
            initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
            special_tokens=["<|endoftext|>", "<|im_end|>"],
            show_progress=False,
        )
        made.train_from_iterator(TEXTS, trainer)
        made.save(str(folder / "tokenizer.json"))
    begin = "<|begin_of_text|>" if family == "llama" else "<|endoftext|>"
    end = "<|eot_id|>" if family == "llama" else "<|im_end|>"
    out = imported(tmp_path, gguf_files.byte_pairs(folder, pre, bos=begin, eos=end))
    ours, theirs = load_tokenizer(out), transformers.AutoTokenizer.from_pretrained(out)
    before = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    for text in [*HARD, *TEXTS[:2]]:
        expected = before.encode(text, add_special_tokens=False).ids
        assert theirs(text, add_special_tokens=False).input_ids == expected
        assert theirs(text).input_ids == before.encode(text).ids
        if "<think>" not in text:
            assert ours.encode(text) == expected
    assert ours.ids.eos == before.token_to_id(end) == theirs.eos_token_id
    assert ours.ids.bos == (before.token_to_id(begin) if family == "llama" else None)
    if pre in ("smollm", "qwen2"):
        assert theirs.tokenize("123") == ["1", "2", "3"]


def test_tekken_cuts_words_at_capitals_and_takes_slashes(tmp_path):
    write_checkpoint(tmp_path, "qwen")
    metadata = gguf_files.byte_pairs(tmp_path, "tekken", bos="<|endoftext|>", eos="<|im_end|>")
    out = imported(tmp_path, metadata)
    cut = tokenizers.Tokenizer.from_file(str(out / "tokenizer.json")).pre_tokenizer
    words = [word for word, _ in cut.pre_tokenize_str("HTTPServer camelCase don't 42 a//\n")]
    expected = ["HTTPServer", "Ġcamel", "Case", "Ġdon", "'t", "Ġ", "4", "2", "Ġa", "//Ċ"]
    assert words == expected
    assert load_tokenizer(out).ids.bos == metadata["tokenizer.ggml.bos_token_id"]


def test_special_tokens_and_the_chat_template_are_kept(tmp_path):
    write_checkpoint(tmp_path, "qwen")
    metadata = gguf_files.byte_pairs(
        tmp_path, "qwen2", eos="<|im_end|>", eot="<|endoftext|>", padding="<|vision_pad|>"
    )
    template = "{% for m in messages %}<|im_start|>{{ m['content'] }}<|im_end|>{% endfor %}"
    metadata["tokenizer.chat_template"] = template
    # Files are padded with spare ids, which are no pieces.
    metadata["tokenizer.ggml.tokens"] += ["[PAD1]", "[PAD2]"]
    metadata["tokenizer.ggml.token_type"] += [5, 5]
    out = imported(tmp_path, metadata)
    ours, theirs = load_tokenizer(out), transformers.AutoTokenizer.from_pretrained(out)
    text = theirs.apply_chat_template([{"role": "user", "content": "2"}], tokenize=False)
    assert text == "<|im_start|>2<|im_end|>"
    assert ours.encode_prompt(text) == theirs(text).input_ids
    assert theirs(text).input_ids == theirs.convert_tokens_to_ids(
        ["<|im_start|>", "2", "<|im_end|>"]
    )
    end, other = theirs.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    assert ours.ids.ends == (end, other)
    generation = json.loads((out / "generation_config.json").read_text())
    assert generation["eos_token_id"] == [end, other]
    assert ours.ids.pad == theirs.pad_token_id == theirs.convert_tokens_to_ids("<|vision_pad|>")
    assert "[PAD1]" not in theirs.get_vocab()


def sentencepieces(blank_first):
    """A tiny model, and its metadata."""
    file = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS),
        model_writer=file,
        model_type="bpe",
        vocab_size=420,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=blank_first,
        user_defined_symbols=[] if blank_first else ["\u2581\u2581", "<start_of_turn>"],
        control_symbols=["<turn>"],
        hard_vocab_limit=False,
        minloglevel=2,
    )
    proto = sentencepiece_model_pb2.ModelProto.FromString(file.getvalue())
    # llama.cpp's converter writes blanks in what a user defined.
    texts = [p.piece.replace("\u2581", " ") if p.type == 4 else p.piece for p in proto.pieces]
    metadata = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": texts,
        "tokenizer.ggml.scores": [piece.score for piece in proto.pieces],
        "tokenizer.ggml.token_type": [piece.type for piece in proto.pieces],
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.add_space_prefix": blank_first,
    }
    return spm.SentencePieceProcessor(model_proto=file.getvalue()), metadata


@pytest.mark.parametrize(("family", "blank_first"), [("llama2", True), ("gemma2", False)])
def test_sentencepieces_are_those_of_the_model(family, blank_first, tmp_path):
    before, metadata = sentencepieces(blank_first)
    out = imported(tmp_path, metadata, family)
    ours, theirs = load_tokenizer(out), transformers.AutoTokenizer.from_pretrained(out)
    for text in [*HARD, *TEXTS[:2]]:
        expected = before.encode(text)
        assert ours.encode_prompt(text) == [1, *expected]
        assert theirs(text).input_ids == [1, *expected]
    assert ours.ids.ends == (2,)
    turn = "<turn>" if blank_first else "<start_of_turn>"
    assert ours.encode_prompt(f"{turn}2")[1] == before.piece_to_id(turn)
