import io
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sentencepiece as spm
from hypothesis import given, settings
from hypothesis import strategies as st

from expert_iter.model.step_ends import MARKS, NO_TOKEN, StepEnds
from expert_iter.model.tokenizers.load_tokenizer import load_tokenizer
from expert_iter.model.tokenizers.marks import TokenIds
from tests.model.tokenizers.test_bpe import write_checkpoint

PIECES = ["", "a", "\n", ".\n", "\n\n", ".\n\nSo", " ", "\nb", "\n\n\n"]  # 0 is special
IDS = TokenIds(pad=0, bos=None, eos=0, newline=2)
BY_HAND = SimpleNamespace(vocab_size=len(PIECES), token_text=PIECES.__getitem__, ids=IDS)
TEXT = st.text(st.sampled_from("\n\n\n\n ().:ab12é\r"), max_size=40)


@pytest.fixture(scope="module", params=["qwen", "llama", "bytes"])
def tokenizer(request, tmp_path_factory):
    """Newlines that share tokens with other characters, or are bytes of their own."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param != "bytes":
        write_checkpoint(folder, request.param)
        return load_tokenizer(folder)
    model = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(["ab ba (12)."] * 20),
        model_writer=model,
        model_type="bpe",
        vocab_size=290,
        hard_vocab_limit=False,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    return load_tokenizer(folder)


@pytest.mark.parametrize(
    "mode, tokens, steps",
    [
        ("line", [1, 3, 1, 2, 0], [(1, 3), (1, 2), (0,)]),
        ("line", [1, 2, 2, 1, 0], [(1, 2), (2,), (1, 0)]),
        ("line", [5, 6, 7, 1], [(5,), (6, 7), (1,)]),
        ("line", [], []),
        ("paragraph", [1, 3, 1, 2, 0], [(1, 3, 1, 2, 0)]),
        ("paragraph", [1, 3, 2, 1, 0], [(1, 3, 2), (1, 0)]),
        ("paragraph", [3, 7, 1, 4, 0], [(3, 7), (1, 4), (0,)]),
        ("paragraph", [2, 6, 2, 5, 1], [(2, 6, 2, 5), (1,)]),  # a blank between: no empty line
        # A newline after a step's end is the next step's: what came before is spent.
        ("paragraph", [2, 2, 2, 1, 2, 2], [(2, 2), (2, 1, 2, 2)]),
        ("paragraph", [4, 2, 2, 8, 8], [(4,), (2, 2), (8,), (8,)]),
    ],
)
def test_steps_by_hand(mode, tokens, steps):
    assert StepEnds(BY_HAND, mode).split(tokens) == steps


@pytest.mark.parametrize("mode", MARKS)
@settings(max_examples=150, deadline=None)
@given(text=TEXT)
def test_each_step_ends_at_its_first_mark(tokenizer, mode, text):
    mark, eos = MARKS[mode], tokenizer.ids.eos
    tokens = [*tokenizer.encode(text), eos]
    steps = StepEnds(tokenizer, mode).split(tokens)
    assert [token for step in steps for token in step] == tokens
    assert "".join(map(tokenizer.decode, steps)) == text
    assert steps[-1][-1] == eos
    for step in steps:
        assert mark not in tokenizer.decode(step[:-1])
    for step in steps[:-1]:
        assert mark in tokenizer.decode(step)


@pytest.mark.parametrize("mode", MARKS)
def test_numpy_and_jax_agree(mode):
    ends = StepEnds(BY_HAND, mode)
    before, token = np.meshgrid(np.arange(NO_TOKEN, len(PIECES)), np.arange(len(PIECES)))
    alike = ends.ended(before, token)
    assert isinstance(alike, np.ndarray) and alike.dtype == bool and alike.shape == token.shape
    for b, t, ended in zip(before.flat, token.flat, alike.flat, strict=True):
        whole = PIECES[t] if b == NO_TOKEN else PIECES[b] + PIECES[t]
        if b != NO_TOKEN and MARKS[mode] in PIECES[b]:
            continue  # such a token is never within a step
        assert ended == (MARKS[mode] in whole)
    for run in (ends.ended, jax.jit(ends.ended)):
        on_device = run(jnp.asarray(before), jnp.asarray(token))
        assert isinstance(on_device, jax.Array) and (np.asarray(on_device) == alike).all()


def test_a_loop_on_the_device(tokenizer):
    ends = StepEnds(tokenizer, "paragraph")
    tokens = tokenizer.encode("ab).\n\n\n12 \n\nab\n12\n\n\n\n(a)")

    def step(before, token):
        ended = ends.ended(before, token)
        return jnp.where(ended, NO_TOKEN, token), ended

    _, ended = jax.lax.scan(step, jnp.int32(NO_TOKEN), jnp.array(tokens, jnp.int32))
    lengths = [len(one) for one in ends.split(tokens)]
    assert len(lengths) > 3 and np.flatnonzero(ended).tolist() == [
        sum(lengths[: n + 1]) - 1 for n in range(len(lengths) - 1)
    ]


def test_the_tokens_that_pad_a_networks_vocabulary_end_nothing():
    ends = StepEnds(BY_HAND, "line", vocab_size=len(PIECES) + 3)
    assert ends.split([1, len(PIECES) + 2, 2, 1]) == [(1, len(PIECES) + 2, 2), (1,)]
    assert ends.never == (*range(len(PIECES), len(PIECES) + 3),), "nor are they ever written"
    with pytest.raises(IndexError):
        StepEnds(BY_HAND, "line").split([len(PIECES) + 2])


def test_an_unknown_mode():
    with pytest.raises(ValueError, match="line, paragraph, not at 'sentence'"):
        StepEnds(BY_HAND, "sentence")


def test_what_a_world_answers_belongs_to_the_step():
    ends = StepEnds(BY_HAND, "line")
    tokens, heard = [1, 2, 1, 2, 3, 1, 2, 1, 0], [0, 0, 1, 1, 1, 0, 0, 0, 0]
    assert ends.split(tokens, heard) == [(1, 2, 1, 2, 3), (1, 2), (1, 0)]
    assert ends.split(tokens[:4], heard[:4]) == [(1, 2, 1, 2)]
    # A step that was cut before its mark is answered as well.
    assert ends.split([1, 1, 3, 1], [0, 1, 1, 0]) == [(1, 1, 3), (1,)]
    assert ends.split(tokens, [0] * 9) == ends.split(tokens)


def test_steps_end_at_the_marks_of_a_world_too():
    ends = StepEnds(BY_HAND, "paragraph", 0, ("So", "b"))
    assert ends.answered and not StepEnds(BY_HAND, "paragraph").answered
    assert ends.split([1, 5, 1, 7, 1, 4, 1]) == [(1, 5), (1, 7), (1, 4), (1,)]
    assert StepEnds(BY_HAND, "line", 0, ()).answered
