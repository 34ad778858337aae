"""What searches that solve nothing teach about the problems that their texts do solve."""

import dataclasses

import numpy as np
import pytest

from expert_iter.errors import UserError
from expert_iter.learn.hindsight import Hindsight
from expert_iter.learn.step_tree import IMITATED
from expert_iter.model.step_ends import StepEnds
from expert_iter.model.tokenizers.sentencepiece_model import SentencePieceTokenizer, TokenizerConfig
from expert_iter.search.self_play import Searched
from expert_iter.tasks import load_task
from tests.learn.search_trees import search_tree

LEGAL = "3 + 5 = 8 : 7 8\n7 + 8 = 15 : 15"
ILLEGAL = "3 + 3 = 6 : 5 7 6\n5 + 7 = 12 : 6 12"


@pytest.fixture(scope="module")
def task():
    sizes = dict(train_size=50, validation_size=5, test_size=5)
    return load_task("countdown", dict(largest=12, max_value=60, max_target=60) | sizes)


@pytest.fixture(scope="module")
def tokenizer(task):
    texts = task.sample_texts(50, 0)
    return SentencePieceTokenizer.train(texts, task.symbols(), TokenizerConfig())


@pytest.fixture
def hindsight(task, tokenizer):
    return Hindsight(task, tokenizer, StepEnds(tokenizer, "line"), 1.0)


def searched(task, tokenizer, *texts, won=False):
    """A problem's search that has finished these texts, each at a node of its own but its last
    step.
    """
    before = [tokenizer.encode(text[: text.rindex("\n") + 1]) for text in texts]
    last = [[*tokenizer.encode(text[text.rindex("\n") + 1 :]), tokenizer.ids.eos] for text in texts]
    count, longest = len(texts), max(map(len, [*before, *last]))
    token = np.full((count + 1, count, longest), tokenizer.ids.pad)
    for k in range(count):
        token[0, k, : len(before[k])] = before[k]
        token[k + 1, 0, : len(last[k])] = last[k]
    valid, finished = np.zeros((2, count + 1, count), bool)
    valid[0], valid[1:, 0], finished[1:, 0] = True, True, True
    child = np.full((count + 1, count), -1)
    child[0] = np.arange(1, count + 1)
    tree = search_tree(
        dict(token=token, valid=valid, finished=finished, won=finished & won, child=child),
        parent=[-1] + [0] * count,
        action=[-1, *range(count)],
    )
    problem = dataclasses.replace(task.parse("3 5 7 -> 38"), id="asked")
    return Searched(np.array([0]), [problem], tree, "mcts", round=2, unit=5, updates=70)


def test_a_text_teaches_the_problem_that_it_solves(hindsight, task, tokenizer):
    found = searched(task, tokenizer, ILLEGAL, LEGAL)
    [tree] = hindsight.trees(found, [np.random.default_rng(0)])
    text = tokenizer.decode(tree.token.tolist())
    assert text == "3 5 7 -> 15\n" + LEGAL
    assert tree.columns[IMITATED].tolist() == [0, 1, 1]
    assert tree.columns["value.target"].tolist() == [1, 1, 1]
    assert tree.origin == ("asked", 2, 5, 70)


def test_nothing_is_made_of_what_is_solved_or_solves_nothing(hindsight, task, tokenizer):
    for found in (searched(task, tokenizer, LEGAL, won=True), searched(task, tokenizer, ILLEGAL)):
        assert hindsight.trees(found, [np.random.default_rng(0)]) == [None]


def test_a_share_of_the_searches_teaches(task, tokenizer):
    found = searched(task, tokenizer, LEGAL)
    for share in (0.0, 0.3):
        hindsight = Hindsight(task, tokenizer, StepEnds(tokenizer, "line"), share)
        made = [hindsight.trees(found, [np.random.default_rng(i)])[0] for i in range(300)]
        assert np.mean([tree is not None for tree in made]) == pytest.approx(share, abs=0.08)


def test_a_task_that_cannot_tell_is_refused(tokenizer):
    with pytest.raises(UserError, match=r"learner\.hindsight: this task cannot tell"):
        Hindsight(object(), tokenizer, StepEnds(tokenizer, "line"), 0.5)
