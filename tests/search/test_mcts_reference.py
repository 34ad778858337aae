"""Whole searches against a second writing of them: plain Python, one tree at a time.

Both play on a table of candidates (see `worlds`).
"""

import dataclasses
import math

import jax
import numpy as np
import pytest
from mctx._src import seq_halving
from scipy import stats

from expert_iter.model.transformer import Network
from expert_iter.model.transformer_config import TransformerConfig
from expert_iter.search import selection
from expert_iter.search.behaviour import SamplerConfig
from expert_iter.search.mcts import TreeSearch
from expert_iter.search.search_config import SearchConfig
from tests.search.worlds import PROMPT, ROWS, OnTable, World, compiled, table_verifier, verified
from tests.steps import steps_of


class TableSearch(OnTable, TreeSearch):
    """The real search, but for the sampler."""


class Node:
    def __init__(self, world, row, path, config, verified, parent=None):
        self.path, self.parent, self.children = path, parent, {}
        at = row, world.number(path)
        self.prior, self.valid = world.prior[at].astype(float), world.valid[at]
        self.finished = world.finished[at] & self.valid
        self.log_pi, self.model_value = world.log_pi[at], world.value[at].astype(float)
        self.value, self.won = self.model_value.copy(), np.zeros(world.K, bool)
        if verified:
            self.won = self.finished & world.right[at]
            self.value[self.finished] = self.won[self.finished]
        self.cut = ~self.finished & (len(path) + 1 >= config.max_steps)
        self.value[self.cut] = 0
        scores = self.prior + config.maxvisit_init * config.value_scale * self.value
        policy = np.exp(scores - scores.max())
        ahead = (policy / policy.sum()) @ self.value
        own = parent.model_value[path[-1]] if parent else 0.0
        self.returns = [config.lookahead * ahead + (1 - config.lookahead) * own]

    def is_open(self, k):
        if not self.valid[k] or self.finished[k] or self.cut[k]:
            return False
        child = self.children.get(k)
        return child is None or any(child.is_open(j) for j in range(len(self.valid)))

    def visits(self, k):
        return len(self.children[k].returns) if k in self.children else 0

    def q(self, k):
        return np.mean(self.children[k].returns) if k in self.children else self.value[k]

    def choose(self, config, sequence):
        K = len(self.valid)
        visits = np.array([self.visits(k) for k in range(K)])
        q = np.array([self.q(k) for k in range(K)])
        is_open = np.array([self.is_open(k) for k in range(K)])
        if config.policy == "puct":
            c = config.pb_c_init + math.log(
                (len(self.returns) + config.pb_c_base + 1) / config.pb_c_base
            )
            prior = np.exp(self.prior - self.prior.max())
            prior /= prior.sum()
            score = q + c * prior * math.sqrt(len(self.returns)) / (1 + visits)
        else:
            score = self.prior + (config.maxvisit_init + visits.max()) * config.value_scale * q
            if self.parent is None:
                away = np.abs(visits - sequence[visits.sum()])
                is_open = is_open & (away == away[is_open].min())
            else:
                policy = np.where(is_open, np.exp(score - score[is_open].max()), 0)
                score = policy / policy.sum() - visits / (1 + visits.sum())
        return max(np.flatnonzero(is_open), key=lambda k: score[k])


def reference(world, row, config, budget, verified):
    """The nodes of one tree, in the order in which they were made."""
    root = Node(world, row, (), config, verified)
    nodes = [root]
    sequence = seq_halving.get_sequence_of_considered_visits(
        sum(root.is_open(k) for k in range(world.K)), budget
    )
    for _ in range(budget):
        if not any(root.is_open(k) for k in range(world.K)):
            break
        node, descent = root, [root]
        while True:
            k = node.choose(config, sequence)
            if k not in node.children:
                break
            node = node.children[k]
            descent.append(node)
        leaf = node.children[k] = Node(world, row, (*node.path, k), config, verified, node)
        nodes.append(leaf)
        for above in descent:
            above.returns.append(leaf.returns[0])
    return nodes


def assert_is_reference(tree, world, config, budget, verified, ids):
    """Returns how many nodes each tree has."""
    sizes = []
    for b in range(ROWS):
        nodes = reference(world, b, config, budget, verified)
        n = len(nodes)
        sizes.append(n)
        number = {id(node): i for i, node in enumerate(nodes)}
        expected = dict(
            live=[True] * n,
            parent=[number[id(x.parent)] if x.parent else -1 for x in nodes],
            action=[x.path[-1] if x.path else -1 for x in nodes],
            visits=[[x.visits(k) for k in range(world.K)] for x in nodes],
            child=[[number.get(id(x.children.get(k)), -1) for k in range(world.K)] for x in nodes],
            won=[x.won for x in nodes],
        )
        drawn = dict(
            valid=[x.valid for x in nodes],
            finished=[x.finished for x in nodes],
            token=[world.tokens(ids, (b, world.number(x.path))) for x in nodes],
            count=[world.count[b, world.number(x.path)] for x in nodes],
        )
        for record, fields in ((tree, expected), (tree.candidates, drawn)):
            for name, values in fields.items():
                np.testing.assert_array_equal(getattr(record, name)[b, :n], values, err_msg=name)
        log_pi = []
        for node in nodes:
            total = 0.0
            for depth, k in enumerate(node.path):
                total += world.log_pi[b, world.number(node.path[:depth]), k]
            log_pi.append(total)
        close = dict(
            q=[[x.q(k) for k in range(world.K)] for x in nodes],
            value=[x.value for x in nodes],
            path_log_pi=log_pi,
        )
        of_drawn = dict(
            model_value=[x.model_value for x in nodes],
            log_pi=[x.log_pi for x in nodes],
        )
        for record, fields in ((tree, close), (tree.candidates, of_drawn)):
            for name, values in fields.items():
                found = getattr(record, name)[b, :n]
                np.testing.assert_allclose(found, values, atol=1e-5, err_msg=name)
        for values in (tree.live, tree.candidates.finished, tree.won, tree.visits):
            assert not values[b, n:].any()
        assert (tree.child[b] < n).all()
        steps = sum(len(x.path) > 0 for x in nodes)
        assert tree.bill.generated[b] == 2 * sum(x.sum() for x in drawn["count"])
        assert tree.bill.prefilled[b] == PROMPT[1][b] + 2 * steps
        assert tree.bill.lockstep[b] == n * world.K * 2
    return np.array(sizes)


def over(world, num_simulations, **settings):
    """The settings of a search of this world."""
    return SearchConfig(
        num_simulations=num_simulations,
        num_candidates=world.K,
        max_steps=world.depth,
        max_step_tokens=2,
        **{"gumbel_scale": 0.0} | settings,
    )


WIDE = dict(value_scale=1.0, maxvisit_init=3.0, lookahead=0.5)
WORLDS = {
    "gumbel": (World(4, 4, finish=0.1), 14, {}),
    "gumbel, wide values and half a look ahead": (World(5, 4, seed=1, duplicate=0.3), 9, WIDE),
    "gumbel, soon at an end": (World(3, 3, seed=2, finish=0.5), 12, {}),
    "puct": (World(4, 4, seed=3, finish=0.1), 14, dict(policy="puct", lookahead=0.7)),
    "puct, soon at an end": (
        World(2, 4, seed=4, duplicate=0.1, finish=0.2),
        16,
        dict(policy="puct", pb_c_init=0.4, pb_c_base=9.0),
    ),
    "one candidate, soon at an end": (World(1, 4, seed=5, finish=0.1), 3, {}),
}
SETTINGS = {
    name: (world, over(world, simulations, **settings))
    for name, (world, simulations, settings) in WORLDS.items()
}
VERIFIED = {"gumbel": True, "puct, soon at an end": True}


@pytest.fixture(scope="module")
def network():
    config = TransformerConfig(
        num_layers=1, width=8, num_heads=1, num_kv_heads=1, head_dim=4, mlp_width=8
    )
    return Network(config, 16)


@pytest.fixture(scope="module")
def search(network, params, ids):
    """Compiles each setting once: `(world, config, budget, verified) -> SearchTree` as arrays."""
    programs = {}

    def run(world, config, budget, is_verified=False, rows=ROWS, problem=None):
        setting = id(world), config, is_verified
        if setting not in programs:
            verifier = table_verifier(world) if is_verified else None
            search = TableSearch(world, network, config, SamplerConfig(), steps_of(ids))
            programs[setting] = compiled(verified(search, verifier))
        problem = np.arange(rows) if problem is None else problem
        keys = jax.random.split(jax.random.key(0), rows)
        prompt = np.resize(PROMPT[0], (rows, 3)), np.resize(PROMPT[1], rows)
        tree = programs[setting](params, *prompt, problem, keys, budget)
        return jax.tree.map(np.asarray, tree)

    return run


@pytest.mark.parametrize("name", SETTINGS)
def test_the_tree_is_the_references(name, search, ids):
    """For all budgets of one compiled search, also where a tree has no more to look at."""
    world, config = SETTINGS[name]
    verified = VERIFIED.get(name, False)
    full = config.num_simulations
    for budget in (1, full // 3, full):
        tree = search(world, config, budget, verified)
        sizes = assert_is_reference(tree, world, config, budget, verified, ids)
        assert (sizes <= budget + 1).all()
        # Nothing goes below what is finished, repeated, or at the last step.
        closed = tree.candidates.finished | ~tree.candidates.valid
        assert not tree.visits[closed].any() and (tree.child[closed] == -1).all()
    ended = sizes < full + 1
    shown = ended.any() if "end" in name else not ended.all()
    assert shown, "the setting does not show what it is meant to show"
    if ended.any() and config.policy == "puct":  # Gumbel's schedule depends on the budget
        less = search(world, config, full - 1, verified)
        jax.tree.map(lambda x, y: np.testing.assert_array_equal(x[ended], y[ended]), tree, less)
    if verified:
        assert tree.won.any() and (tree.value[tree.won] == 1).all()
        lost = tree.candidates.finished & ~tree.won
        assert lost.any() and (tree.value[lost] == 0).all()
    else:
        assert not tree.won.any()
        kept = tree.live[..., None] & tree.candidates.finished
        np.testing.assert_array_equal(tree.value[kept], tree.candidates.model_value[kept])


@pytest.mark.slow
def test_a_smaller_budget_is_a_search_compiled_for_it(search):
    world, config = SETTINGS["gumbel"]
    large = search(world, config, 5, is_verified=True)
    small = search(world, dataclasses.replace(config, num_simulations=5), 5, is_verified=True)
    for name, x, y in zip(large._fields, large, small, strict=True):
        x = x if name == "bill" else jax.tree.map(lambda x: x[:, :6], x)
        jax.tree.map(np.testing.assert_array_equal, x, y)


class Bandit(World):
    """Eight arms at the root; all that lies below an arm is worth what the arm is."""

    def __post_init__(self):
        self.finish = self.duplicate = 0.0
        super().__post_init__()
        self.prior[:] = 0
        arms = np.random.default_rng(self.seed).permuted([np.linspace(0, 0.7, 8)] * ROWS, axis=1)
        self.arms = arms.astype(np.float32)
        self.value[:, 0] = self.arms
        first = (np.arange(self.value.shape[1]) % (self.K + 1)) - 1
        self.value[:, 1:] = np.where(first[1:, None] >= 0, self.arms[:, first[1:]][..., None], 0)


BANDIT = Bandit(8, 4)
BANDIT_CONFIG = over(BANDIT, 24, value_scale=0.5)


def test_a_bandit_is_searched_by_sequential_halving(search):
    """16 visits for 8 arms: one each, one more for the best 4, two more for the best 2."""
    for budget, schedule in ((16, [1, 1, 1, 1, 2, 2, 4, 4]), (24, [1, 1, 1, 1, 3, 3, 7, 7])):
        tree = search(BANDIT, BANDIT_CONFIG, budget)
        order = np.argsort(BANDIT.arms, axis=1)
        if budget == 24:  # 24 // (3 · 8) = 1, 24 // (3 · 4) = 2, and the rest for two
            assert sum(schedule) == 24
        visits = np.take_along_axis(tree.visits[:, 0], order, axis=1)
        np.testing.assert_array_equal(visits, [schedule] * ROWS)
        np.testing.assert_allclose(tree.q[:, 0], BANDIT.arms, atol=1e-5)
        policy = selection.improved_policy(
            tree.candidates.prior_logit[:, 0],
            tree.q[:, 0],
            tree.visits[:, 0],
            BANDIT_CONFIG,
        )
        best = np.argmax(BANDIT.arms, axis=1)
        assert (policy[np.arange(ROWS), best] > 0.9).all()


def test_puct_visits_the_best_arm_most(search):
    config = dataclasses.replace(BANDIT_CONFIG, policy="puct", pb_c_init=0.3)
    visits = search(BANDIT, config, 24).visits[:, 0]
    best = np.argmax(BANDIT.arms, axis=1)
    np.testing.assert_array_equal(np.argmax(visits, axis=1), best)
    assert (visits[np.arange(ROWS), best] > 8).all()


def test_the_roots_noise_samples_from_the_improved_policy(search):
    """Gumbel-max: one simulation goes to a candidate with its probability under π'."""
    world, rows = World(4, 2, seed=6, finish=0.0), 4000
    config = over(world, 1, gumbel_scale=1.0, value_scale=0.0)
    visits = search(world, config, 1, rows=rows, problem=np.zeros(rows, int)).visits[:, 0]
    policy = np.exp(world.prior[0, 0].astype(float))
    policy /= policy.sum()
    chosen, likely = visits.sum(0), policy > 0
    assert chosen.sum() == rows and not chosen[~likely].any()
    assert stats.chisquare(chosen[likely], rows * policy[likely]).pvalue > 1e-4
