from typing import NamedTuple

import jax
import numpy as np
import pytest

from expert_iter.model.tokenizer import Tokenizer, TokenizerConfig
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

    def __init__(self):
        self.compiled = 0

    def run(self, params, token, length, number, keys, budget):
        self.compiled += 1
        rows = np.ones(token.shape[0], int)
        return Seen(token, length, number, jax.random.key_data(keys), params + budget * rows)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    texts = [question.prompt for question in QUESTIONS]
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    return Tokenizer.train(texts, ["1", "2", "3", "4", "5", " ", "\n"], TokenizerConfig(), path)


@pytest.fixture
def player(tokenizer):
    return Player(Mirror(), tokenizer, BATCH)


def key_of(player, questions, index, seed=0):
    return player.play(0, questions, jax.random.key(seed), 5).key[index].tolist()


def test_one_row_a_question_on_the_host(player, tokenizer):
    seen = player.play(100, QUESTIONS, jax.random.key(0), 7)
    assert all(isinstance(x, np.ndarray) and len(x) == 3 for x in seen)
    for row, question in enumerate(QUESTIONS):
        prompt = tokenizer.encode_prompt(question.prompt)
        assert seen.length[row] == len(prompt)
        assert seen.token[row, : len(prompt)].tolist() == prompt
        assert (seen.token[row, len(prompt) :] == tokenizer.pad_id).all()
    assert seen.number.tolist() == [0, 1, 2]
    assert seen.budget.tolist() == [107] * 3


def test_rows_without_a_question_are_harmless(player, tokenizer):
    """A prompt of one token, and a problem that the judge knows."""
    whole = []
    player._run = lambda *args: whole.append(args) or Seen(*args[1:5], np.zeros(BATCH))
    player.play(0, QUESTIONS[:2], jax.random.key(0), 5)
    _, token, length, number, keys, _ = whole[0]
    assert token.shape[0] == length.shape[0] == number.shape[0] == keys.shape[0] == BATCH
    assert length[2:].tolist() == [1, 1] and number.tolist() == [0, 1, 0, 0]
    assert (token[2:, 0] == tokenizer.bos_id).all() and (token[2:, 1:] == tokenizer.pad_id).all()


def test_keys_go_by_the_questions_id(player):
    """Not by its place, its neighbours or its text; and by the search's own key."""
    straight = [key_of(player, QUESTIONS, i) for i in range(3)]
    assert len(set(map(tuple, straight))) == 3
    assert [key_of(player, QUESTIONS[::-1], i) for i in (2, 1, 0)] == straight
    assert key_of(player, [QUESTIONS[1]], 0) == straight[1]
    assert key_of(player, [Question("b", "3\n")], 0) == straight[1]
    assert key_of(player, QUESTIONS, 1, seed=1) != straight[1]


def test_few_lengths_are_compiled(tokenizer):
    expert = Mirror()
    player = Player(expert, tokenizer, BATCH)
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
