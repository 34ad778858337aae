"""A task of letters that fails whoever asks it for a verdict while it is closed."""

import jax

from expert_iter.config import SECTIONS, Settings
from expert_iter.learn.objectives import OBJECTIVES
from expert_iter.measure.evaluator import EvaluationConfig
from expert_iter.model.tokenizers.marks import TokenIds
from expert_iter.model.transformer_config import TransformerConfig
from expert_iter.pod.mesh import MeshConfig
from expert_iter.search.guess import GuessConfig
from expert_iter.search.search_config import SearchConfig
from expert_iter.tasks import Problem

LETTERS = "abcd"
EVALUATION = EvaluationConfig(
    problems=7,
    batch_size=4,  # so that there are two batches, the second with a row of padding
    samples=(2, 4, 8),
    simulations=(1, 3),
    num_candidates=2,
    round_problems=7,
    round_simulations=3,
    prior_weight=0.3,
)
MAX_TOKENS = 6


class Letters:
    """A tokenizer of a letter a token."""

    ids = TokenIds(0, 1, 2, 3)
    vocab_size = 4 + len(LETTERS)

    def encode(self, text):
        return [3 if c == "\n" else 4 + LETTERS.index(c) for c in text]

    def encode_prompt(self, text):
        return [1, *self.encode(text)]

    def decode(self, ids):
        return "".join(map(self.token_text, map(int, ids)))

    def decode_all(self, texts):
        return [self.decode(ids) for ids in texts]

    def token_text(self, i):
        return "" if i < 3 else "\n" if i == 3 else LETTERS[i - 4]


class GuardedTask:
    """Write a text with an odd number of the secret letter.

    While it is closed, whoever calls anything but the reading of votes has broken in.
    """

    name = "guarded"
    in_process = True

    def __init__(self):
        self.closed, self.judged = False, []

    def _guard(self):
        assert not self.closed, "the task was asked before all answers were there"

    def problems(self, split):
        self._guard()
        prompts = ("a\n", "bcd\n", "d\n", "dd\n", "abcda\n", "cab\n", "ba\n")
        return [Problem(f"{split}-{i}", p, LETTERS[i % 4]) for i, p in enumerate(prompts)]

    def verdict(self, problem, solution):
        self._guard()
        self.judged.append(solution)
        return solution.count(problem.answer) % 2 == 1

    def is_legal(self, problem, solution):
        self._guard()
        return True

    def demonstration(self, problem, rng):
        self._guard()
        return "a"

    def answer(self, prompt, solution):
        """Votes are for the letters used; a text without letters proposes nothing."""
        return "".join(sorted(set(solution) - {"\n"})) or None


def settings():
    shape = dict(num_layers=1, width=16, num_heads=2, num_kv_heads=1, head_dim=8, mlp_width=16)
    sections = {name: section() for name, section in SECTIONS.items()} | dict(
        mesh=MeshConfig(data=1),
        model=TransformerConfig(**shape),
        search=SearchConfig(max_steps=2, max_step_tokens=3),
        guess=GuessConfig(max_tokens=MAX_TOKENS),
        evaluation=EVALUATION,
    )
    objectives = {name: section() for name, (_, section) in OBJECTIVES.items()}
    return Settings(task_name="guarded", task=None, objectives=objectives, **sections)


def fresh_params(network):
    """Far from a fresh network: texts of several kinds, some without an end, of unlike values."""
    params = network.init(jax.random.key(7))
    params["embedding"] = jax.random.normal(jax.random.key(7), params["embedding"].shape) / 8
    params["blocks"] = jax.tree.map(lambda x: 4 * x, params["blocks"])
    params["value_weight"] = jax.random.normal(jax.random.key(2), params["value_weight"].shape)
    return params
