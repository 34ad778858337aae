"""What the README says to type works."""

import json
import re
import shlex
from pathlib import Path

import jax
import numpy as np
import pytest

from expert_iter.model.tokenizers.marks import TokenIds
from expert_iter.search import experts
from expert_iter.search.candidates import SamplerConfig
from expert_iter.search.experts import ExpertSettings
from expert_iter.search.guess import GuessConfig
from expert_iter.search.search_config import SearchConfig
from tests.steps import steps_of
from tests.tiny import finish, typed

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
    for module in set(re.findall(r"python -m expert_iter\.([\w.]+)", README)):
        assert (root / "expert_iter" / f"{module.replace('.', '/')}.py").exists(), module
    for path in set(re.findall(r"(?:launch|configs|docs|benchmarks)/[\w./]+\.\w+", README)):
        assert (root / path).exists(), path


TINY = """
    tokenizer.vocab_size=300 model.num_layers=1 model.width=16 model.num_heads=2
    model.num_kv_heads=1 model.head_dim=8 model.mlp_width=16 search.max_steps=2
    search.max_step_tokens=8 search.num_candidates=2 search.num_simulations=2 guess.max_tokens=16
    warm_start.updates=2 learner.rows=2 learner.row_tokens=256 learner.updates_per_round=1
    run.problems_per_round=4 run.batch_size=4 evaluation.problems=4 evaluation.batch_size=4
    evaluation.round_problems=4 evaluation.round_simulations=1 evaluation.num_candidates=2
    evaluation.samples=(2,) evaluation.simulations=(1,) verifier.workers=1
""".split()


@pytest.mark.slow
def test_problems_of_your_own_need_no_code(tmp_path):
    """The commands as they stand there, but for smaller sizes and other folders."""
    section = README[README.index("## Your own problems") :]
    record = json.loads(re.search(r"```json\n(.*?)```", section, re.DOTALL).group(1))
    commands = re.search(r"```bash\n(.*?)```", section, re.DOTALL).group(1)
    for name in ("train", "test"):
        lines = [{**record, "question": f"{record['question']} ({i})"} for i in range(60)]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / f"{name}.jsonl").write_text(text)
        commands = commands.replace(f"{name}.jsonl", str(tmp_path / f"{name}.jsonl"))
    commands = commands.replace("runs/mine", str(tmp_path / "run")).replace("\\\n", " ")
    said = []
    for line in commands.strip().splitlines():
        python, dash_m, module, *arguments = shlex.split(line)
        assert (python, dash_m) == ("python", "-m")
        if module.endswith("train"):
            arguments += [f"--config.{setting}" for setting in TINY]
        run = typed if module.endswith("solve") else finish  # typing costs seconds: once is enough
        done = run(module.removeprefix("expert_iter."), *arguments)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    trained, evaluated, solved = said
    assert "greedy" in trained and "MCTS" in evaluated
    assert "Ann has 5 pens" in solved and "verifier" not in solved, "no answer is known"
