"""A search driven by the host is the same search, and none of its programs calls the host."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from expert_iter.pod.mesh import one_device
from expert_iter.search import experts
from expert_iter.search.behaviour import SamplerConfig
from expert_iter.search.bill import Budget
from expert_iter.search.driven_search import DrivenSearch
from expert_iter.search.expansion import texts
from expert_iter.search.experts import ExpertSettings
from expert_iter.search.guess import GuessConfig
from expert_iter.search.search_config import SearchConfig
from tests.generators import returned
from tests.search.worlds import verified
from tests.steps import steps_of

ROWS = 6
SEARCH = SearchConfig(
    num_simulations=5,
    num_candidates=3,
    root_candidates=4,
    max_steps=3,
    max_step_tokens=3,
    stop_when_solved=True,
)
SETTINGS = ExpertSettings(SEARCH, SamplerConfig(temperature=1.3), GuessConfig())
BUDGET = Budget(SEARCH.num_simulations, tokens=120.0)
EXPERTS = "mcts", "beam_rollouts", pytest.param("mcts_mixed", marks=pytest.mark.slow)


def on_device(problem_B, prefix_BxDxL, token_BxMxT, finished_BxM):
    """Asked of anything but a finished text it says yes."""
    total = jnp.sum(prefix_BxDxL, axis=(1, 2))[:, None] + jnp.sum(token_BxMxT, axis=-1)
    return ((problem_B[:, None] + total) % 7 == 0) | ~finished_BxM


class OnHost:
    """The same verdicts, for `DrivenSearch`; counts what it was asked."""

    def __init__(self):
        self.asked = 0

    def ask(self, problem_B, texts):
        assert all(isinstance(x, np.ndarray) for x in (problem_B, *texts))
        self.asked += int(texts.asked.sum())
        return lambda: np.asarray(on_device(problem_B, *texts))


@pytest.fixture(scope="module")
def inputs(params):
    token = np.concatenate(
        [np.ones((ROWS, 1), int), np.random.default_rng(0).integers(3, 12, (ROWS, 3))], 1
    )
    length, keys = np.array([1, 4, 3, 2, 4, 2]), jax.random.split(jax.random.key(3), ROWS)
    return params, token, length, np.arange(ROWS), keys


@pytest.mark.parametrize("name", EXPERTS)
def test_the_tree_is_that_of_one_program(name, network, inputs, ids):
    expert, verifier = experts.build(name, network, SETTINGS, steps_of(ids)), OnHost()
    expected = jax.device_get(jax.jit(verified(expert, on_device))(*inputs, BUDGET))
    search = DrivenSearch(expert, one_device())
    tree = jax.device_get(returned(search(*inputs, BUDGET, verifier.ask)))
    for one, other in zip(*map(jax.tree.leaves, (tree, expected)), strict=True):
        rounding = 1e-6 if one.dtype.kind == "f" else 0  # programs are fused in other ways
        np.testing.assert_allclose(one, other, rtol=rounding, atol=rounding)

    sizes, solved = tree.live.sum(1), tree.won.any((1, 2))
    assert len(set(sizes)) > 1 and 0 < solved.sum() < ROWS, "rows end by verdicts and by budget"
    finished = tree.candidates.finished & tree.candidates.valid
    assert verifier.asked == finished.sum() > tree.won.sum() > 0


@pytest.mark.parametrize("name", ["mcts", "beam_rollouts"])
def test_every_part_is_lowered_for_machines_that_are_not_there(name, network, inputs, ids):
    """As JAX does where a program calls no host: for TPUs, on a machine without one."""
    expert = experts.build(name, network, SETTINGS, steps_of(ids))
    search, number = DrivenSearch(expert, one_device()), np.int32(1)
    start = jax.eval_shape(search.start, *inputs)

    def verdicts(node):
        asked = jax.eval_shape(texts, node)
        return tuple(jax.ShapeDtypeStruct((1, *text.asked.shape), bool) for text in asked)

    planted = start, verdicts(start.root), BUDGET
    growth = jax.eval_shape(search.plant, *planted)
    expanded = inputs[0], start, growth, number, BUDGET
    expansion = jax.eval_shape(search.expand, *expanded)
    accepted = growth, number, expansion, verdicts(expansion.node)
    given = {
        "start": inputs,
        "plant": planted,
        "expand": expanded,
        "accept": accepted,
        "finish": (growth,),
    }
    for part, arguments in given.items():
        traced = getattr(search, part).trace(*arguments)
        lowered = traced.lower(lowering_platforms=("tpu",)).as_text()
        assert "callback" not in lowered and "mhlo.num_partitions" in lowered
