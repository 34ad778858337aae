"""Searches with a real network: what the tree says is so, whatever the batch's order or layout."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from expert_iter.errors import UserError
from expert_iter.model.pages import empty_pool
from expert_iter.model.transformer import Network
from expert_iter.search.behaviour import SamplerConfig
from expert_iter.search.bill import Budget
from expert_iter.search.mcts import TreeSearch
from expert_iter.search.readout import path, step_tokens
from expert_iter.search.search_config import SearchConfig
from tests.steps import steps_of

ROWS = 8
CONFIG = SearchConfig(num_simulations=10, num_candidates=3, max_steps=3, max_step_tokens=4)
SAMPLER = SamplerConfig(temperature=1.3)


@pytest.fixture(scope="module")
def questions():
    """Prompts of unlike lengths, problem numbers and keys."""
    rng = np.random.default_rng(0)
    token = np.concatenate([np.ones((ROWS, 1), int), rng.integers(2, 12, (ROWS, 4))], axis=1)
    length = np.array([1, 5, 3, 2, 4, 5, 2, 3])
    keys = jax.random.split(jax.random.key(3), ROWS)
    return token, length, np.arange(ROWS), keys


@pytest.fixture(scope="module")
def search(network, ids):
    return TreeSearch(network, CONFIG, SAMPLER, steps_of(ids))


@pytest.fixture(scope="module")
def run(search):
    """One program for budgets of all kinds."""
    run = jax.jit(search.run)
    return lambda *arguments: run(*arguments[:-1], Budget.of(arguments[-1]))


@pytest.fixture(scope="module")
def tree(run, params, questions):
    return jax.tree.map(np.asarray, run(params, *questions, CONFIG.num_simulations))


@pytest.fixture(scope="module", params=["without replacement", "independent"])
def any_tree(request, network, params, ids, questions, tree):
    """A tree of either sampler."""
    if request.param == "without replacement":
        return tree
    sampler = dataclasses.replace(SAMPLER, replacement=True)
    run = jax.jit(TreeSearch(network, CONFIG, sampler, steps_of(ids)).run)
    tree = jax.tree.map(np.asarray, run(params, *questions, CONFIG.num_simulations))
    assert (tree.candidates.count[tree.live].max(-1) > 1).any(), "no duplicates, nothing to see"
    return tree


def assert_same(a, b, rows=slice(None)):
    """`b` is the rows `rows` of `a` (but for the bill's lockstep, which is the batch's)."""
    a, b = (x._replace(bill=x.bill._replace(lockstep=None)) for x in (a, b))
    for name, x, y in zip(a._fields, a, b, strict=True):
        for x_part, y_part in zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True):
            x_part, y_part = np.asarray(x_part)[rows], np.asarray(y_part)
            if x_part.dtype.kind == "f":
                np.testing.assert_allclose(x_part, y_part, rtol=1e-5, atol=1e-5, err_msg=name)
            else:
                np.testing.assert_array_equal(x_part, y_part, err_msg=name)


def test_pages_equal_reading_every_text_again(
    any_tree, questions, network, params, ids, read_whole
):
    """Each candidate of each node: its log-probability, its value, and its prefix's."""
    tree = any_tree
    texts, where, prefixes = [], [], []
    for b, n in zip(*np.nonzero(tree.live), strict=True):
        prefix = questions[0][b, : questions[1][b]].tolist()
        steps = [t for at in path(tree, b, n) for t in step_tokens(tree, b, *at)]
        for k in np.flatnonzero(tree.candidates.valid[b, n]):
            texts.append([*prefix, *steps, *step_tokens(tree, b, n, k)])
            where.append((b, n, k))
            prefixes.append((len(prefix), len(prefix) + len(steps)))
    depths = [len(path(tree, b, n)) for b, n, _ in where]
    assert len(texts) > 150 and set(depths) == {0, 1, 2}
    read = read_whole(network, params, texts, ids, 5 + 3 * 4)
    sums = np.cumsum(read.log_prob, axis=1)
    rows, end = np.arange(len(texts)), np.array([len(t) for t in texts]) - 1
    start, before = np.array(prefixes).T - 1
    at = tuple(np.array(where).T)
    np.testing.assert_allclose(
        tree.candidates.log_pi[at], (sums[rows, end] - sums[rows, before]), atol=1e-4
    )
    np.testing.assert_allclose(tree.candidates.model_value[at], read.value[rows, end], atol=1e-4)
    expected = sums[rows, before] - sums[rows, start]
    np.testing.assert_allclose(tree.path_log_pi[at[:2]], expected, atol=1e-4)

    hot = np.where(read.logits == -np.inf, -1e9, read.logits) / 1.3
    hot = np.asarray(jax.nn.log_softmax(hot))[rows[:, None], np.arange(16)]
    token = np.array([t[1:] + [0] * (17 - len(t)) for t in texts])
    hot = np.take_along_axis(hot, token[:, :, None], axis=2)[..., 0]
    place = np.arange(16)
    inside = (place >= before[:, None]) & (place < end[:, None])
    np.testing.assert_allclose(
        tree.candidates.log_beta[at], np.where(inside, hot, 0).sum(1), atol=1e-4
    )


def test_the_tree_hangs_together(any_tree, ids):
    """Parents and children agree; visits add up; nothing lies below what ends the text."""
    tree = any_tree
    for b in range(ROWS):
        for n in np.flatnonzero(tree.live[b]):
            children = tree.child[b, n]
            for k, child in enumerate(children):
                if child < 0:
                    assert tree.visits[b, n, k] == 0
                    continue
                assert (tree.parent[b, child], tree.action[b, child]) == (n, k)
                assert tree.candidates.valid[b, n, k] and not tree.candidates.finished[b, n, k]
                assert tree.visits[b, n, k] == 1 + tree.visits[b, child].sum()
            last = [step_tokens(tree, b, n, k)[-1] for k in range(3)]
            finished = (np.array(last) == ids.eos) & tree.candidates.valid[b, n]
            np.testing.assert_array_equal(tree.candidates.finished[b, n], finished)
        assert tree.live[b, : tree.live[b].sum()].all(), "nodes are numbered as they are made"
        assert tree.visits[b, 0].sum() == tree.live[b].sum() - 1
    depth = np.array([[len(path(tree, b, n)) for n in range(11)] for b in range(ROWS)])
    at_limit = (depth == 2)[..., None] & tree.live[..., None] & ~tree.candidates.finished
    assert at_limit.any() and (tree.value[at_limit] == 0).all()
    elsewhere = (depth < 2)[..., None] & tree.live[..., None]
    elsewhere = np.broadcast_to(elsewhere, tree.value.shape)
    np.testing.assert_array_equal(tree.value[elsewhere], tree.candidates.model_value[elsewhere])


def test_the_same_tree_in_any_order(tree, run, params, questions):
    order = np.random.default_rng(1).permutation(ROWS)
    other = run(params, *(x[order] for x in questions), CONFIG.num_simulations)
    assert_same(tree, other, order)


def test_a_row_does_not_see_its_neighbours(tree, run, params, questions):
    """Seven other problems beside it, one of them ten times."""
    token, length, problem, keys = questions
    rows = np.array([0, 1, 1, 1, 1, 1, 1, 1])
    other = run(params, token[rows], length[rows], problem[rows], keys[rows], 10)
    assert_same(tree, other, rows)
    changed = run(params, token, length, problem, jax.random.split(jax.random.key(9), ROWS), 10)
    assert (np.asarray(changed.candidates.token) != tree.candidates.token).any((1, 2, 3)).all()


@pytest.mark.slow  # tests/pod/test_mesh.py compares rounds on eight with those on one
def test_the_same_tree_on_four_devices(tree, search, params, questions):
    """Cut by hand; tests/pod/test_mesh.py leaves an axis to XLA."""
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:4])
    rows, whole = PartitionSpec("data"), PartitionSpec()
    by_hand = jax.jit(
        jax.shard_map(
            search.run,
            mesh=mesh,
            in_specs=(whole, rows, rows, rows, rows, whole),
            out_specs=rows,
            check_vma=False,
        )
    )
    budget = jnp.int32(CONFIG.num_simulations)
    assert_same(tree, by_hand(params, *questions, budget))


@pytest.mark.slow
def test_values_do_not_drift_in_bfloat16(network, params, ids):
    """All that is read is worth 0.3: after 300 simulations all statistics still are."""
    half = Network(dataclasses.replace(network.config, dtype="bfloat16"), network.vocab_size)
    params = params | {
        "value_weight": jnp.zeros_like(params["value_weight"]),
        "value_bias": jnp.float32(np.log(0.3 / 0.7)),
    }
    config = SearchConfig(
        num_simulations=300, num_candidates=4, max_steps=40, max_step_tokens=2, value_scale=0.01
    )
    search = TreeSearch(half, config, SamplerConfig(temperature=2.0), steps_of(ids))
    tree = jax.jit(search.run)(
        params,
        np.ones((1, 1), int),
        np.ones(1, int),
        np.zeros(1, int),
        jax.random.split(jax.random.key(0), 1),
        300,
    )
    tree = jax.tree.map(np.asarray, tree)
    deepest = max(len(path(tree, 0, n)) for n in range(301))
    assert tree.live.all() and 3 <= deepest < 39
    drawn = tree.candidates
    for values in (tree.q, tree.value, drawn.model_value):
        np.testing.assert_allclose(values[drawn.valid], 0.3, atol=1e-5)
    assert tree.visits[0, 0].max() > 60


@pytest.mark.parametrize(
    "bad",
    [
        {"num_simulations": 0},
        {"max_steps": 0},
        {"policy": "random"},
        {"gumbel_scale": -1.0},
        {"lookahead": 1.5},
    ],
)
def test_impossible_searches_are_refused_by_name(bad):
    with pytest.raises(UserError, match=f"search.{next(iter(bad))}"):
        SearchConfig(**bad)


def test_ended_rows_keep_what_they_had(network, params, ids, questions, run):
    """As the simple way does that copies all trees at each simulation."""

    class ByCopies(TreeSearch):
        def add(self, growth, number, choice, node):
            grown = super().add(growth, number, choice._replace(live=choice.live | True), node)

            def keep(new, old):
                return jnp.where(choice.live.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

            return grown._replace(tree=jax.tree.map(keep, grown.tree, growth.tree))

    budget = Budget(CONFIG.num_simulations, tokens=60.0)
    fast = run(params, *questions, budget)
    slow = jax.jit(ByCopies(network, CONFIG, SAMPLER, steps_of(ids)).run)
    assert_same(slow(params, *questions, budget), fast)


def test_the_pool_is_never_copied(network, params, ids, questions):
    """Read from the compiled program. (Writing a page is an update in place.)"""
    config = dataclasses.replace(CONFIG, num_simulations=96)
    search = TreeSearch(network, config, SAMPLER, steps_of(ids))
    given = *questions, config.num_simulations
    program = jax.jit(search.run).lower(params, *given).compile().as_text()
    loops = program[: program.index("\nENTRY ")]  # before them it is made, for keys and values
    pool = jax.eval_shape(lambda: empty_pool(network, ROWS, 97, config.max_step_tokens)).k.shape
    shape = re.escape(f"f32[{','.join(map(str, pool))}]")
    made = re.findall(rf"= {shape}\S* ([\w-]+)\(", loops)
    assert "dynamic-update-slice" in made
    assert not {"copy", "select", "concatenate", "scatter"} & set(made), made
