"""What the README says to type works."""

import re
from pathlib import Path

import jax
import numpy as np

from expert_iter.model.tokenizer import TokenIds
from expert_iter.search import experts
from expert_iter.search.candidates import SamplerConfig
from expert_iter.search.experts import ExpertSettings
from expert_iter.search.guess import GuessConfig
from expert_iter.search.search_config import SearchConfig
from tests.steps import steps_of

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_example_of_an_expert_is_one(network, params, monkeypatch):
    """It is best-first search that thinks nothing of the value head, and is found by its name."""
    monkeypatch.setattr(experts, "EXPERTS", dict(experts.EXPERTS))
    section = README[README.index("### Add an expert") :]
    example = re.search(r"```python\n(.*?)```", section, re.DOTALL).group(1)
    assert len(example.splitlines()) <= 20
    exec(compile(example, "README.md", "exec"), {})

    search = SearchConfig(num_simulations=6, num_candidates=3, max_steps=3, max_step_tokens=4)
    settings = ExpertSettings(search, SamplerConfig(temperature=1.3), GuessConfig())
    no_heuristic = settings._replace(
        search=SearchConfig(**{**vars(search), "heuristic_weight": 0.0})
    )
    ids = TokenIds(pad=0, bos=1, eos=2, newline=3)
    rng = np.random.default_rng(0)
    prompts = np.concatenate([np.ones((4, 1), int), rng.integers(2, 12, (4, 3))], axis=1)
    arguments = prompts, np.full(4, 4), np.arange(4), jax.random.split(jax.random.key(0), 4), 6
    mine, known = (
        jax.tree.map(
            np.asarray,
            jax.jit(experts.build(name, network, s, steps_of(ids)).run)(params, *arguments),
        )
        for name, s in (("likeliest", settings), ("best_first", no_heuristic))
    )
    jax.tree.map(np.testing.assert_array_equal, mine, known)
    assert mine.live.sum() > 12


def test_every_expert_is_in_the_table():
    table = README[README.index("## Experts") : README.index("### Add an expert")]
    for name in set(experts.EXPERTS) - {"guess"}:
        assert f"`{name}`" in table, name


def test_commands_of_the_readme_exist():
    root = Path(__file__).parents[1]
    for module in set(re.findall(r"python -m expert_iter\.(\w+)", README)):
        assert (root / "expert_iter" / f"{module}.py").exists(), module
    for path in set(re.findall(r"(?:launch|configs|docs|benchmarks)/[\w./]+\.\w+", README)):
        assert (root / path).exists(), path
