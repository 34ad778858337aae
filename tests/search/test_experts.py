"""All experts by name, on a tiny network: what holds for every one of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from expert_iter.errors import UserError
from expert_iter.learn.lessons import step_trees
from expert_iter.model.transformer import Network
from expert_iter.model.transformer_config import TransformerConfig
from expert_iter.search import experts
from expert_iter.search.behaviour import SamplerConfig
from expert_iter.search.bill import Budget
from expert_iter.search.experts import EXPERTS, ExpertSettings
from expert_iter.search.frontier import FrontierSearch
from expert_iter.search.guess import GuessConfig
from expert_iter.search.search_config import SearchConfig
from expert_iter.search.self_play import Searched
from expert_iter.tasks import Problem
from tests.objectives import objectives
from tests.search.worlds import any_of, compiled, verified
from tests.steps import steps_of

ROWS, SIMULATIONS, SAMPLES = 6, 6, 8
SEARCH = SearchConfig(
    num_simulations=SIMULATIONS,
    num_candidates=3,
    root_candidates=4,
    max_steps=3,
    max_step_tokens=3,
)
SETTINGS = ExpertSettings(
    SEARCH, SamplerConfig(temperature=1.2), GuessConfig(num_samples=SAMPLES, max_tokens=6)
)
ALL = Budget(SAMPLES)
GUESSES = ("greedy", "guess", "samples", "samples_without_replacement")
# They go on until there is nothing left to go on with.
EXHAUSTIVE = (
    "best_first",
    "best_first_rewards",
    *(name for name in EXPERTS if name.startswith("mcts") and name != "mcts_by_step"),
)
# Programs of their own, whose trees are checked beside a reference (test_*_reference.py), too.
SLOW = (
    *("mcts_puct", "mcts_max", "mcts_length_normalised", "mcts_by_step"),
    *(name for name in EXPERTS if name.endswith(("_rollouts", "_mixed"))),
)
every_name = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in EXPERTS]
)


@pytest.fixture(scope="module")
def network():
    shape = dict(num_layers=1, width=8, num_heads=1, num_kv_heads=1, head_dim=4, mlp_width=8)
    return Network(TransformerConfig(**shape), 8)


@pytest.fixture(scope="module")
def questions():
    """Prompts of unlike lengths, problem numbers, and keys."""
    token = np.random.default_rng(0).integers(3, 8, (ROWS, 4))
    token[:, 0] = 1
    length = np.array([1, 4, 3, 2, 4, 2])
    return token, length, np.arange(ROWS), jax.random.split(jax.random.key(0), ROWS)


@pytest.fixture(scope="module")
def program(network, ids):
    """An expert's compiled search, and what it takes before its own arguments: `(name) -> (program,
    list)`. Compilation is what the time here goes into: experts that differ from each other in
    their rule alone, or in the weight of rollouts, share one program.
    """
    build = lambda name: experts.build(name, network, SETTINGS, steps_of(ids))  # noqa: E731
    built = {name: build(name) for name in EXPERTS}
    ruled = [
        name
        for name, expert in built.items()
        if isinstance(expert, FrontierSearch) and expert.config == SEARCH
    ]

    def run_any(which, *inputs):
        rule = any_of([built[name].rule for name in ruled], which)
        return FrontierSearch(rule, network, SEARCH, SETTINGS.sampler, steps_of(ids)).run(*inputs)

    def run_weighted(name, weight, *inputs):
        expert = build(name)
        object.__setattr__(expert.config, "rollout_weight", weight)
        return expert.run(*inputs)

    any_rule = compiled(run_any)
    weighted = {
        family: compiled(functools.partial(run_weighted, f"{family}_rollouts"))
        for family in ("beam", "mcts")
    }
    alone = {name: compiled(expert.run) for name, expert in built.items()}

    def program_of(name):
        family, expert = name.split("_")[0], built[name]
        if name in ruled:
            return any_rule, [np.int32(ruled.index(name))]
        if name.endswith(("_rollouts", "_mixed")):
            assert vars(expert.config) == vars(built[f"{family}_rollouts"].config) | {
                "rollout_weight": expert.config.rollout_weight
            }
            return weighted[family], [np.float32(expert.config.rollout_weight)]
        return alone[name], []

    return program_of


@pytest.fixture(scope="module")
def play(program, params, questions):
    """Runs an expert: `(name, budget, keys, rows) -> SearchTree` as arrays."""

    def run(name, budget=ALL, keys=None, rows=slice(None)):
        token, length, problem, usual = questions
        inputs = [x[rows] for x in (token, length, problem, usual if keys is None else keys)]
        search, first = program(name)
        return jax.tree.map(np.asarray, search(*first, params, *inputs, amounts(budget)))

    return run


def amounts(budget):
    """Of one type for all budgets, so that one program serves them."""
    return Budget(np.int32(budget.simulations), *map(np.float32, budget[1:]))


def assert_same(a, b, rows=slice(None)):
    """`b` is the rows `rows` of `a` (but for the bill's lockstep, which is the batch's)."""
    a, b = (jax.tree.leaves(x._replace(bill=x.bill._replace(lockstep=None))) for x in (a, b))
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x[rows].astype(float), y.astype(float), rtol=1e-5, atol=1e-5)


@every_name
def test_it_searches_and_pays(name, play, questions):
    tree = play(name)
    assert tree.live[:, 0].all() and tree.candidates.valid[:, 0, 0].all() and not tree.won.any()
    assert (tree.bill.prefilled >= questions[1]).all() and (tree.bill.flops > 0).all()
    assert (tree.bill.lockstep >= tree.bill.generated).all() and (tree.bill.generated > 0).all()
    if name in GUESSES:
        assert tree.live.shape == (ROWS, 1)
        assert (tree.candidates.count.sum((1, 2)) == (1 if name == "greedy" else SAMPLES)).all()
    else:
        nodes = tree.live.sum(1)
        assert 3 <= nodes.max() <= SIMULATIONS + 1
        assert tree.child.max() == nodes.max() - 1
    if name != "greedy":
        assert tree.candidates.finished.any()


@every_name
def test_its_trees_can_be_learned_from(name, play, questions, ids):
    """Of solutions of which some are right each problem leaves a tree that teaches."""
    tree = play(name)
    done = tree.candidates.finished & tree.candidates.valid
    won = done & (tree.candidates.token.sum(-1) % 2 == 0)
    prompts = [token[:length].tolist() for token, length in zip(*questions[:2], strict=True)]
    rngs = np.random.default_rng(0).spawn(ROWS)
    worth = np.where(won, 1, tree.value)
    searched = tree._replace(won=won, value=worth, q=worth)
    problems = [Problem(f"p{b}", "", None) for b in range(ROWS)]
    made = objectives("improved", "set_normalised", "step_preferences", "policy_gradient", "value")
    found = Searched(np.arange(ROWS), problems, searched)
    lessons = step_trees(found, prompts, steps_of(ids), made, rngs)
    assert len(lessons) == ROWS and won.any()
    for b, (lesson,) in enumerate(lessons):
        assert lesson.token[: len(prompts[b])].tolist() == prompts[b]
        assert all(np.isfinite(values).all() for values in lesson.columns.values())
        assert lesson.columns["improved.weight"].any() or not won[b].any()
        assert lesson.teaches or not done[b].any()


@every_name
def test_the_order_of_the_batch_does_not_matter(name, play):
    order = np.random.default_rng(1).permutation(ROWS)
    assert_same(play(name), play(name, rows=order), order)


@every_name
def test_the_key_decides(name, play):
    first = play(name)
    jax.tree.map(np.testing.assert_array_equal, first, play(name))
    other = play(name, keys=jax.random.split(jax.random.key(7), ROWS))
    assert (other.candidates.token != first.candidates.token).any() == (name != "greedy")


def costs_of(name, tree, b):
    """Tokens written at each node; of guesses, by each draw."""
    length = tree.candidates.length[b]
    if name in GUESSES:
        return length[0, : tree.candidates.count[b].sum()].tolist()
    written = tree.candidates.count[b] * length
    width = SEARCH.width
    step = np.repeat(length[:, :width], max(length.shape[1] // width - 1, 1), axis=1)
    written[:, width:] -= step[:, : written.shape[1] - width] * tree.candidates.valid[b][:, width:]
    return written.sum(1)[tree.live[b]].tolist()


def can_go_on(name, tree, b):
    """Something was left that might have been paid for."""
    if name in GUESSES:
        return name != "greedy" and tree.candidates.count[b].sum() < SAMPLES
    depth = np.zeros(len(tree.live[b]), int)
    for n in np.flatnonzero(tree.parent[b] >= 0):
        depth[n] = depth[tree.parent[b, n]] + 1
    is_open = tree.candidates.valid[b] & ~tree.candidates.finished[b] & (tree.child[b] < 0)
    is_open &= (depth < SEARCH.max_steps - 1)[:, None]
    return is_open[:, : SEARCH.width].any() and tree.live[b].sum() <= SIMULATIONS


@every_name
def test_a_budget_in_tokens_is_met(name, play):
    """The next is paid for where, were it like those before, it would lead nearer to the budget."""
    stopped = []
    for amount in (1, 15, 60):
        tree = play(name, Budget(SAMPLES, tokens=amount))
        for b in range(ROWS):
            costs = costs_of(name, tree, b)
            assert tree.bill.generated[b] == sum(costs)

            def likely(n):
                """What comes after the first n may cost."""
                if name in GUESSES:
                    return np.mean(costs[:n])  # noqa: B023
                share = SEARCH.num_candidates / SEARCH.width
                return np.mean(costs[1:n]) if n > 1 else share * costs[0]  # noqa: B023

            for n in range(1, len(costs)):
                assert sum(costs[:n]) + likely(n) / 2 <= amount
            if (name in EXHAUSTIVE or name in GUESSES) and can_go_on(name, tree, b):
                assert sum(costs) + likely(len(costs)) / 2 > amount
                stopped.append(len(costs))
    if name in EXHAUSTIVE or name in GUESSES and name != "greedy":
        assert len(set(stopped)) > 1


@every_name
def test_no_search_calls_the_host(name, program, params, questions):
    search, first = program(name)
    made = search.trace(*first, params, *questions, amounts(ALL)).jaxpr
    assert "callback" not in str(made)


def verifier(problem_B, prefix_BxDxL, step_BxKxL, finished_BxK):
    """Asked of anything but a finished text it says yes."""
    total = jnp.sum(step_BxKxL, axis=-1) + problem_B[:, None]
    return (total % 2 == 0) | ~finished_BxK


def assert_verified(tree):
    asked = tree.candidates.finished & tree.candidates.valid
    right = (tree.candidates.token.sum(-1) + np.arange(ROWS)[:, None, None]) % 2 == 0
    np.testing.assert_array_equal(tree.won, right & asked)
    np.testing.assert_array_equal(tree.value[asked], right[asked])
    assert tree.won.any() and (asked & ~tree.won).any()


@pytest.mark.parametrize(
    "name, changes",
    {
        "greedy": dict(temperature=0.0, replacement=True),
        "guess": {},
        "samples": dict(replacement=True),
        "samples_without_replacement": dict(replacement=False),
        "beam_rollouts": dict(rollouts=1, rollout_weight=1.0),
        "beam_mixed": dict(rollouts=1, rollout_weight=0.5),
        "mcts": {},
        "mcts_puct": dict(policy="puct"),
        "mcts_max": dict(backup="max"),
        "mcts_by_step": dict(commit="step"),
        "mcts_rollouts": dict(rollouts=1, rollout_weight=1.0),
        "mcts_mixed": dict(rollouts=1, rollout_weight=0.5),
        "mcts_length_normalised": dict(prior="length_normalised"),
    }.items(),
)
def test_a_name_changes_what_it_says_and_nothing_else(name, changes, network, ids):
    expert = experts.build(name, network, SETTINGS, steps_of(ids))
    changed = expert.sampler if name in GUESSES else expert.config
    usual = SETTINGS.sampler if name in GUESSES else SEARCH
    if name == "greedy":
        assert expert.config == GuessConfig(num_samples=1, max_tokens=6)
    elif name in GUESSES:
        assert expert.config == SETTINGS.guess
    else:
        assert expert.sampler == SETTINGS.sampler
    fields = {k: getattr(usual, k) for k in vars(usual)}
    assert {k: getattr(changed, k) for k in fields} == fields | changes


def test_an_unknown_name_is_answered_with_those_there_are(network, ids):
    with pytest.raises(UserError, match="no expert 'bream'") as error:
        experts.build("bream", network, SETTINGS, steps_of(ids))
    assert all(name in str(error.value) for name in EXPERTS)


def test_an_expert_is_added_by_its_rule(monkeypatch, network, params, questions, ids):
    """Shallow before deep, and the better first; a verifier comes with it."""
    build = experts.grown_by(
        lambda tree, config: tree.value_NxK - tree.depth_N[:, None], num_simulations=5
    )
    monkeypatch.setitem(EXPERTS, "shallow", build)
    expert = verified(experts.build("shallow", network, SETTINGS, steps_of(ids)), verifier)
    tree = jax.tree.map(np.asarray, compiled(expert)(params, *questions, ALL))
    assert_verified(tree)
    for b in range(ROWS):
        frontier, depth = {}, {0: 0}
        for n in np.flatnonzero(tree.live[b]):
            if n > 0:
                at = max(frontier, key=frontier.get)
                assert (tree.parent[b, n], tree.action[b, n]) == at
                del frontier[at]
                depth[n] = depth[at[0]] + 1
            for k in np.flatnonzero(tree.candidates.valid[b, n] & ~tree.candidates.finished[b, n]):
                if depth[n] < SEARCH.max_steps - 1:
                    frontier[int(n), int(k)] = tree.value[b, n, k] - depth[n]
        assert tree.live[b].sum() == 6 or not frontier
    assert tree.live.shape == (ROWS, 6) and (tree.live.sum(1) == 6).any()
