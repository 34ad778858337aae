from typing import NamedTuple

import jax
import numpy as np
import pytest

from expert_iter.model.tokenizers.sentencepiece_model import SentencePieceTokenizer, TokenizerConfig
from expert_iter.pod.mesh import Layout, MeshConfig, one_device
from expert_iter.search.player import Player, padded_length
from expert_iter.tasks.task import Question

BATCH = 4
QUESTIONS = [Question("a", "1 2\n"), Question("b", "1 2 3 4 5\n"), Question("c", "3\n")]


class Seen(NamedTuple):
    token: jax.Array
    length: jax.Array
    number: jax.Array
    key: jax.Array
    budget: jax.Array


class Mirror:
    """An expert that hands back what it was asked, one row a question."""

    most, verdicts_after, shares_draws = 1000, False, False

    def __init__(self):
        self.compiled = 0

    def run(self, params, token, length, number, keys, budget):
        self.compiled += 1
        rows = np.ones(token.shape[0], int)
        return Seen(token, length, number, jax.random.key_data(keys), params + budget * rows)


@pytest.fixture(scope="module")
def tokenizer():
    texts = [question.prompt for question in QUESTIONS]
    return SentencePieceTokenizer.train(texts, [*"12345 \n"], TokenizerConfig())


@pytest.fixture
def player(tokenizer):
    return Player(Mirror(), tokenizer, BATCH, one_device())


def key_of(player, questions, index, seed=0):
    return player.play(0, questions, jax.random.key(seed), 5).key[index].tolist()


def test_one_row_a_question_on_the_host(player, tokenizer):
    seen = player.play(100, QUESTIONS, jax.random.key(0), 7)
    assert all(isinstance(x, np.ndarray) and len(x) == 3 for x in seen)
    for row, question in enumerate(QUESTIONS):
        prompt = tokenizer.encode_prompt(question.prompt)
        assert seen.length[row] == len(prompt)
        assert seen.token[row, : len(prompt)].tolist() == prompt
        assert (seen.token[row, len(prompt) :] == tokenizer.ids.pad).all()
    assert seen.number.tolist() == [0, 1, 2]
    assert seen.budget.tolist() == [107] * 3


def test_rows_without_a_question_are_harmless(player, tokenizer):
    """A prompt of one token, and a problem that the verifier knows."""
    whole = []
    player._search = lambda *args: whole.append(args) or Seen(*args[1:5], np.zeros(BATCH))
    player.play(0, QUESTIONS[:2], jax.random.key(0), 5)
    _, token, length, number, keys, _ = whole[0]
    token, length, number = map(np.asarray, (token, length, number))
    assert token.shape[0] == length.shape[0] == number.shape[0] == keys.shape[0] == BATCH
    assert length[2:].tolist() == [1, 1] and number.tolist() == [0, 1, 0, 0]
    assert (token[2:, 0] == tokenizer.ids.bos).all() and (token[2:, 1:] == tokenizer.ids.pad).all()


def test_keys_go_by_the_questions_id(player):
    """Not by its place, its neighbours or its text; and by the search's own key."""
    straight = [key_of(player, QUESTIONS, i) for i in range(3)]
    assert len(set(map(tuple, straight))) == 3
    assert [key_of(player, QUESTIONS[::-1], i) for i in (2, 1, 0)] == straight
    assert key_of(player, [QUESTIONS[1]], 0) == straight[1]
    assert key_of(player, [Question("b", "3\n")], 0) == straight[1]
    assert key_of(player, QUESTIONS, 1, seed=1) != straight[1]


@pytest.mark.parametrize("mesh", [dict(data=8), dict(data=3), dict(data=2, fsdp=2, tensor=2)])
def test_the_devices_share_the_questions(player, tokenizer, mesh):
    """Each has as many rows; what comes back is what one device says, row for row."""
    expert = Mirror()
    spread = Player(expert, tokenizer, BATCH, Layout(MeshConfig(**mesh)))
    searched, search = [], spread._search
    spread._search = lambda *args: searched.append(search(*args)) or searched[-1]
    alone = player.play(100, QUESTIONS, jax.random.key(0), 7)
    for name, there, here in zip(
        Seen._fields, spread.play(100, QUESTIONS, jax.random.key(0), 7), alone, strict=True
    ):
        np.testing.assert_array_equal(there, here, err_msg=name)
    devices = 8 if 3 not in mesh.values() else 3
    rows = -(-BATCH // devices) * devices
    assert searched[0].number.tolist() == [0, 1, 2] + [0] * (rows - 3)
    assert {shard.data.shape for shard in searched[0].number.addressable_shards} == {
        (rows // devices,)
    }

    numbers, own = spread.play_own(100, QUESTIONS, jax.random.key(0), 7)
    assert numbers.tolist() == [0, 1, 2]
    jax.tree.map(np.testing.assert_array_equal, own, alone)
    assert all(isinstance(x, np.ndarray) for x in own)


def test_a_process_gets_the_trees_of_its_own_questions(tokenizer, monkeypatch):
    """Of eight rows, of which three have no question, the second of two processes has the last."""
    player = Player(Mirror(), tokenizer, 8, Layout(MeshConfig(data=4)))
    questions = [Question(str(i), f"{i % 5 + 1}\n") for i in range(5)]
    alone = player.play(0, questions, jax.random.key(0), 5)
    monkeypatch.setattr("expert_iter.search.player.own_rows", lambda _, count: np.arange(4, count))
    monkeypatch.setattr("expert_iter.search.player.own_part", lambda x: np.asarray(x)[4:])
    numbers, own = player.play_own(0, questions, jax.random.key(0), 5)
    assert numbers.tolist() == [4]
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x, y[4:]), own, alone)


def test_few_lengths_are_compiled(tokenizer):
    expert = Mirror()
    player = Player(expert, tokenizer, BATCH, one_device())
    widths = set()
    for n in range(1, 8):
        question = Question("q", " ".join("1" * n) + "\n")
        for budget in (1, 5):
            widths.add(player.play(0, [question], jax.random.key(0), budget).token.shape[1])
    assert all(width % 4 == 0 for width in widths)
    assert expert.compiled == len(widths) == 4  # 3, 5, … 15 tokens


def test_long_prompts_have_few_lengths():
    sizes = sorted({padded_length(n) for n in range(1, 1025)})
    assert sizes == [4, 8, 12, 16, 20, 24, 28, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024]
    assert all(n <= padded_length(n) < max(n + 4, 1.5 * n) for n in range(1, 2000))
