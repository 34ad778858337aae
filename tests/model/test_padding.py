"""A model whose text end also begins texts and is its padding, against one with padding of its own.

The two tokenizers differ in nothing else, and so must all that is searched and learned.
"""

import json
from concurrent.futures import Future
from functools import partial

import jax
import numpy as np
import pytest
import tokenizers
from tokenizers import decoders, pre_tokenizers

from expert_iter.learn.learner import Learner, LearnerConfig
from expert_iter.learn.lessons import step_trees
from expert_iter.learn.optimizer import OptimizerConfig
from expert_iter.learn.step_tree import flat
from expert_iter.learn.warm_start import path_tree
from expert_iter.model.step_ends import StepEnds
from expert_iter.model.tokenizers.load_tokenizer import load_tokenizer
from expert_iter.model.transformer import Network
from expert_iter.model.transformer_config import TransformerConfig
from expert_iter.pod.mesh import one_device
from expert_iter.search import experts
from expert_iter.search.behaviour import SamplerConfig
from expert_iter.search.driven_search import DrivenSearch
from expert_iter.search.experts import ExpertSettings
from expert_iter.search.guess import GuessConfig
from expert_iter.search.host_verifier import HostVerifier
from expert_iter.search.search_config import SearchConfig
from expert_iter.search.self_play import Searched
from expert_iter.tasks import Problem
from expert_iter.tasks.verifier.pool import Verifier
from tests.generators import returned
from tests.objectives import objectives

LETTERS = ["a", "b", "c", "Ġ", "Ċ", "1"]  # Ġ, Ċ: a blank and a newline
END, PADDING = "<|end|>", "<|padding|>"
SHAPE = TransformerConfig(
    num_layers=1, width=16, num_heads=2, num_kv_heads=1, head_dim=8, mlp_width=16
)
NETWORK = Network(SHAPE, len(LETTERS) + 2)
PROBLEMS = 24
SETTINGS = ExpertSettings(
    SearchConfig(
        num_simulations=4, num_candidates=2, root_candidates=3, max_steps=2, max_step_tokens=4
    ),
    SamplerConfig(),
    GuessConfig(num_samples=6, max_tokens=6),
)


def tokenizer(folder, *special):
    made = tokenizers.Tokenizer(
        tokenizers.models.BPE({letter: i for i, letter in enumerate(LETTERS)}, [])
    )
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(list(special))
    made.save(str(folder / "tokenizer.json"))
    roles = dict.fromkeys(["bos_token", "eos_token", "pad_token"], END) | {"add_bos_token": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(roles))
    return load_tokenizer(folder)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return tokenizer(tmp_path_factory.mktemp("shared"), END)


@pytest.fixture(scope="module")
def distinct(tmp_path_factory):
    return tokenizer(tmp_path_factory.mktemp("distinct"), END, PADDING)


def test_one_token_is_all_three(shared, distinct):
    end, padding = len(LETTERS), len(LETTERS) + 1
    assert shared.ids[:3] == (end, end, end) and shared.ids.never == ()
    assert distinct.ids[:3] == (padding, end, end) and distinct.ids.never == (padding,)
    for each in (shared, distinct):
        assert each.encode_prompt(f"ab{END}c") == [end, 0, 1, end, 2]
        assert each.encode_prompt(f"{END}ab") == [end, 0, 1]
        assert each.decode([end, 0, end, 1, end]) == "ab"
        assert each.token_text(end) == ""


def searched(tokenizer, expert, params):
    """The tree, on the host, what it teaches, and each text that was judged."""
    judged = []

    steps = StepEnds(tokenizer, "line", NETWORK.vocab_size)

    class Judge(Verifier):
        def submit(self, problems, texts):
            judged.extend(texts)
            future = Future()
            future.set_result([text.count("a") % 2 == 0 for text in texts])
            return future

    ask = partial(HostVerifier(Judge(), tokenizer).ask, range(PROBLEMS))
    search = experts.build(expert, NETWORK, SETTINGS, steps)
    prompts = [tokenizer.encode_prompt(text) for text in ("a", "ab", "1 1 b", "c") * 6]
    token = np.full((PROBLEMS, 8), tokenizer.ids.pad)
    for row, prompt in zip(token, prompts, strict=True):
        row[: len(prompt)] = prompt
    keys = jax.random.split(jax.random.key(1), PROBLEMS)
    length = np.array(list(map(len, prompts)))
    given = params, token, length, np.arange(PROBLEMS), keys, 6
    if search.verdicts_after:
        tree = jax.jit(search.run)(*given)
    else:
        tree = returned(DrivenSearch(search, one_device())(*given, ask))
    tree = jax.tree.map(np.asarray, tree)
    rngs = np.random.default_rng(0).spawn(PROBLEMS)
    problems = [Problem(f"p{b}", "", None) for b in range(PROBLEMS)]
    made = objectives("improved", "value", improved=dict(nodes="all"))
    lessons = step_trees(Searched(np.arange(PROBLEMS), problems, tree), prompts, steps, made, rngs)
    return tree, [lesson for (lesson,) in lessons], judged


@pytest.mark.parametrize("expert", ["samples", "guess", "beam_rollouts"])
def test_search_finds_and_teaches_the_same(expert, shared, distinct, random_params):
    params = random_params(NETWORK)
    (one, lessons, judged), (other, lessons_there, judged_there) = (
        searched(tokenizer, expert, params) for tokenizer in (shared, distinct)
    )
    written = np.arange(one.candidates.token.shape[-1]) < one.candidates.length[..., None]

    def without_padding(tree):
        token = np.where(written, tree.candidates.token, 0)
        return tree._replace(candidates=tree.candidates._replace(token=token))

    jax.tree.map(np.testing.assert_array_equal, without_padding(one), without_padding(other))
    assert sorted(judged) == sorted(judged_there)
    jax.tree.map(np.testing.assert_array_equal, flat(lessons), flat(lessons_there))

    token, length, finished = one.candidates.token, one.candidates.length, one.candidates.finished
    last = np.take_along_axis(token, np.maximum(length - 1, 0)[..., None], -1)[..., 0]
    exists = one.candidates.valid & one.live[..., None]
    np.testing.assert_array_equal(finished & exists, (last == shared.ids.eos) & exists)
    assert 0.1 < finished[exists].mean() < 0.9
    if expert == "beam_rollouts":  # candidates and rollouts are judged by what they wrote, no more
        for b, k in zip(*np.nonzero(finished[:, 0]), strict=True):
            text = shared.decode(token[b, 0, k, : length[b, 0, k]])
            assert one.won[b, 0, k] == (text.count("a") % 2 == 0)


def test_the_end_of_a_text_is_learned_and_written(shared):
    steps = StepEnds(shared, "line", NETWORK.vocab_size)
    prompt, solution = "a b", "1 1\nc"
    lesson = path_tree(shared, steps, prompt, solution)
    learner = Learner(
        NETWORK,
        LearnerConfig(rows=1, row_tokens=16, row_steps=4),
        objectives(),
        OptimizerConfig(name="adamw", learning_rate=0.03, warmup_updates=3),
        warm_updates=60,
        round_updates=0,
        layout=one_device(),
    )
    state = learner.init(NETWORK.init(jax.random.key(0)))
    batch, _ = learner.packer.pack([lesson])
    for _ in range(60):
        state, _ = learner.update(state, batch)
    greedy = experts.build("greedy", NETWORK, SETTINGS, steps)
    asked = np.array([shared.encode_prompt(prompt)])
    keys = jax.random.split(jax.random.key(0), 1)
    tree = jax.jit(greedy.run)(state.params, asked, np.array([asked.size]), np.arange(1), keys)
    tokens = tree.candidates.token[0, 0, 0, : tree.candidates.length[0, 0, 0]].tolist()
    assert tokens == [*shared.encode(solution), shared.ids.eos] and tree.candidates.finished.all()
