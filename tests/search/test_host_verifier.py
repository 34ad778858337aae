"""Verdicts on what a search writes are those of the task on the decoded text."""

from functools import partial
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from expert_iter.model.tokenizers.marks import TokenIds
from expert_iter.model.tokenizers.sentencepiece_model import SentencePieceTokenizer, TokenizerConfig
from expert_iter.pod.mesh import one_device
from expert_iter.search.behaviour import SamplerConfig
from expert_iter.search.driven_search import DrivenSearch
from expert_iter.search.expansion import Texts
from expert_iter.search.host_verifier import HostVerifier
from expert_iter.search.mcts import TreeSearch
from expert_iter.search.readout import path, step_tokens
from expert_iter.search.search_config import SearchConfig
from expert_iter.tasks.numbers.countdown import Countdown, CountdownConfig
from expert_iter.tasks.verifier.pool import InProcessVerifier
from tests.generators import returned
from tests.steps import steps_of

TASK = Countdown(CountdownConfig())
PROBLEMS = [TASK.parse("3 5 7 -> 15"), TASK.parse("2 4 6 -> 48")]
FIRST = ["3 + 5 = 8 : 7 8\n", "2 * 4 = 8 : 6 8\n"]
SECOND = [
    ["7 + 8 = 15 : 15", "8 - 7 = 1 : 1", "8 + 7 = 16 : 16", "nonsense"],
    ["8 - 6 = 2 : 2", "6 * 8 = 48 : 48", "8 * 6 = 48 : 48\n", "2 * 24 = 48 : 48"],
]
RIGHT = np.array([[True, False, False, False], [False, True, False, False]])


@pytest.fixture(scope="module")
def tokenizer():
    texts = [*FIRST, *SECOND[0], *SECOND[1], *(problem.prompt for problem in PROBLEMS)]
    return SentencePieceTokenizer.train(texts, TASK.symbols(), TokenizerConfig())


def verdicts(verifier, number, prefix, step, finished, problems=PROBLEMS):
    return verifier.ask(problems, number, Texts(prefix, step, finished))()


def padded(rows, width, pad):
    return np.array([row + [pad] * (width - len(row)) for row in rows], np.int32)


@pytest.fixture(scope="module")
def written(tokenizer):
    """Each problem's first step, and candidates for its second; prefixes have room for more."""
    pad, eos = tokenizer.ids.pad, tokenizer.ids.eos
    prefix = np.full((2, 3, 16), pad, np.int32)
    prefix[:, 0] = padded([tokenizer.encode(text) for text in FIRST], 16, pad)
    steps = [[[*tokenizer.encode(text), eos] for text in texts] for texts in SECOND]
    return prefix, np.stack([padded(rows, 16, pad) for rows in steps])


def test_verdicts_are_the_tasks(tokenizer, written):
    verifier = HostVerifier(InProcessVerifier(TASK), tokenizer)
    everything = np.ones((2, 4), bool)
    for b, problem in enumerate(PROBLEMS):
        by_task = [TASK.verdict(problem, FIRST[b] + text) for text in SECOND[b]]
        assert by_task == RIGHT[b].tolist()
    np.testing.assert_array_equal(verdicts(verifier, np.arange(2), *written, everything), RIGHT)

    # Only what is finished is asked about.
    some = np.array([[False, True, True, True], [True, True, False, False]])
    np.testing.assert_array_equal(verdicts(verifier, np.arange(2), *written, some), RIGHT & some)


def test_problems_go_by_their_number_in_the_batch(tokenizer, written):
    verifier = HostVerifier(InProcessVerifier(TASK), tokenizer)
    asked, turned = Texts(*written, np.ones((2, 4), bool)), PROBLEMS[::-1]
    # Answers may be waited for in another order than texts are submitted in.
    wrong, right = (verifier.ask(turned, np.array(ids), asked) for ids in ([0, 1], [1, 0]))
    plain, first = (verifier.ask(PROBLEMS, np.array(ids), asked) for ids in ([0, 1], [0, 0]))
    np.testing.assert_array_equal(plain(), RIGHT)
    np.testing.assert_array_equal(right(), RIGHT)
    np.testing.assert_array_equal(first(), RIGHT & [[True], [False]])
    assert not wrong().any()


def test_a_whole_solution_needs_no_prefix(tokenizer):
    """As guess-and-check asks: the prefix has room for no step."""
    verifier = HostVerifier(InProcessVerifier(TASK), tokenizer)
    pad, eos = tokenizer.ids.pad, tokenizer.ids.eos
    texts = [[FIRST[b] + SECOND[b][k] for k in range(4)] for b in range(2)]
    step = [padded([[*tokenizer.encode(t), eos] for t in row], 40, pad) for row in texts]
    verdict = verdicts(
        verifier, np.arange(2), np.zeros((2, 0, 0), np.int32), np.stack(step), np.ones((2, 4), bool)
    )
    np.testing.assert_array_equal(verdict, RIGHT)


def test_rubbish_is_wrong_and_no_error(tokenizer):
    verifier = HostVerifier(InProcessVerifier(TASK), tokenizer)
    rng = np.random.default_rng(0)
    prefix = rng.integers(0, tokenizer.vocab_size, (64, 2, 12)).astype(np.int32)
    step = rng.integers(0, tokenizer.vocab_size, (64, 8, 12)).astype(np.int32)
    step[0] = tokenizer.ids.pad
    step[1] = tokenizer.ids.eos
    prefix[2:4] = tokenizer.ids.pad
    verdict = verdicts(verifier, np.arange(64) % 2, prefix, step, np.ones((64, 8), bool))
    assert verdict.shape == (64, 8) and not verdict.any()


def test_a_search_asks_about_the_text_that_it_wrote(network, params, ids):
    """The verdict on every finished candidate, against decoding its path in the finished tree."""
    asked = []

    def verdict(problem, text):
        asked.append((problem, text))
        return hash_of(problem, text)

    def hash_of(problem, text):
        return sum(map(int, text.split())) % 3 == problem

    def decode(tokens):
        return " ".join(str(token) for token in tokens if token != ids.eos)

    tokenizer = SimpleNamespace(
        ids=TokenIds(*ids), decode_all=lambda texts: list(map(decode, texts))
    )
    verifier = HostVerifier(InProcessVerifier(SimpleNamespace(verdict=verdict)), tokenizer)
    problems = [2, 0, 1]
    config = SearchConfig(num_simulations=6, num_candidates=4, max_steps=3, max_step_tokens=3)
    expert = TreeSearch(network, config, SamplerConfig(temperature=1.5), steps_of(ids))
    search = DrivenSearch(expert, one_device())
    rows = 6
    problem = np.arange(rows) % 3
    going = search(
        params,
        np.tile([[1, 5]], (rows, 1)),
        np.full(rows, 2),
        problem,
        jax.random.split(jax.random.key(0), rows),
        6,
        partial(verifier.ask, problems),
    )
    tree = jax.tree.map(np.asarray, returned(going))
    expected, found = np.zeros_like(tree.won), set()
    for b, n, k in zip(*np.nonzero(tree.candidates.finished & tree.candidates.valid), strict=True):
        steps = [*path(tree, b, n), (n, k)]
        text = decode([t for at in steps for t in step_tokens(tree, b, *at)][:-1])
        found.add((problems[problem[b]], text))
        expected[b, n, k] = hash_of(problems[problem[b]], text)
    np.testing.assert_array_equal(tree.won, expected)
    assert set(asked) == found
    assert 3 < expected.sum() < len(found) - 3
    finished = tree.candidates.finished & tree.candidates.valid
    np.testing.assert_array_equal(tree.value[finished], expected[finished])
    assert len({len(path(tree, b, n)) for b, n, _ in zip(*np.nonzero(finished), strict=True)}) > 1
