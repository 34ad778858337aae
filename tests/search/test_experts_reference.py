"""Every expert that grows a tree against a second writing of it (see `references`), on a table of
candidates.
"""

import math

import jax
import numpy as np
import pytest

from expert_iter.search import experts
from expert_iter.search.behaviour import SamplerConfig
from expert_iter.search.bill import Budget
from expert_iter.search.experts import ExpertSettings
from expert_iter.search.frontier import FrontierSearch
from expert_iter.search.guess import GuessConfig
from expert_iter.search.mcts import TreeSearch
from expert_iter.search.readout import best, solutions
from expert_iter.search.search_config import SearchConfig
from tests.search.references import BY_VALUE, RULES, Game, Grown, Mcts, Spent, grown, thoughts_depth
from tests.search.worlds import (
    PROMPT,
    ROWS,
    OnTable,
    World,
    any_of,
    compiled,
    table_verifier,
    verified,
)
from tests.steps import steps_of

PRIOR_WEIGHT = 0.3  # of the readout
ALL = 20  # simulations


def assert_is_reference(tree, b, search, ids):
    """Row b is this tree: the same nodes in the same order, the same statistics and bill."""
    game, world = search.game, search.game.world
    n = len(game.opened)
    assert tree.live[b].tolist() == [True] * n + [False] * (tree.live.shape[1] - n)
    places = [(p[:-1], p[-1]) if p else None for p in game.opened]
    assert tree.parent[b, :n].tolist() == [game.opened.index(x[0]) if x else -1 for x in places]
    assert tree.action[b, :n].tolist() == [x[1] if x else -1 for x in places]
    drawn = tree.candidates
    assert not (drawn.valid | drawn.finished | tree.won)[b, n:].any()
    for i, prefix in enumerate(game.opened):
        candidates = game.candidates(prefix)
        k = [c.path[-1] for c in candidates]
        assert np.flatnonzero(drawn.valid[b, i]).tolist() == k
        at = b, world.number(prefix)
        inner = lambda x: np.asarray(x)[b, i, k].tolist()  # noqa: B023, E731
        numbers = {p: j for j, p in enumerate(game.opened)}
        assert inner(drawn.token) == world.tokens(ids, at)[k].tolist()
        assert inner(drawn.length) == world.length[at][k].tolist()
        assert inner(drawn.count) == world.count[at][k].tolist()
        assert inner(drawn.finished) == [c.finished for c in candidates]
        assert inner(tree.won) == [c.won for c in candidates]
        assert inner(tree.child) == [numbers.get(c.path, -1) for c in candidates]
        assert inner(tree.visits) == [search.visits(c) for c in candidates]
        assert inner(tree.answerable) == [search.may_answer(prefix, j) for j in k]
        assert inner(tree.q) == pytest.approx([search.q(c) for c in candidates], abs=1e-5)
        for name, values in (
            ("value", tree.value),
            ("model_value", drawn.model_value),
            ("log_pi", drawn.log_pi),
        ):
            expected = [getattr(c, name) for c in candidates]
            assert inner(values) == pytest.approx(expected, abs=1e-6), name
        assert inner(drawn.prior_logit) == pytest.approx([c.prior for c in candidates], rel=1e-6)
        assert tree.path_log_pi[b, i] == pytest.approx(game.log_pi(prefix), abs=1e-5)
        others = np.delete(np.arange(drawn.valid.shape[2]), k)
        assert not drawn.finished[b, i, others].any() and not tree.visits[b, i, others].any()
        assert (tree.child[b, i, others] == -1).all()
    config, below = game.config, len(game.opened) - 1
    room = config.width + config.num_candidates * below
    assert tree.bill.lockstep[b] == world.longest * room
    assert tree.bill.generated[b] == sum(game.costs)[0]
    assert tree.bill.flops[b] == pytest.approx(sum(game.costs)[1], rel=1e-5)
    assert tree.bill.prefilled[b] == PROMPT[1][b] + sum(
        game.lengths(p)[-1] for p in game.opened[1:]
    )
    assert_same_answer(tree, b, search, ids)


def assert_same_answer(tree, b, search, ids):
    """The solutions that may be read out, and the best of them by log v + λ · log π."""
    game, expected = search.game, []
    for prefix in game.opened:
        for c in game.candidates(prefix):
            if c.finished and search.may_answer(prefix, c.path[-1]):
                score = math.log(max(c.model_value, 1e-9)) + PRIOR_WEIGHT * game.log_pi(c.path)
                expected.append((c.path, score))
    found = solutions(tree, b, steps_of(ids))
    name = lambda s: (*game.opened[s.node], s.candidate)  # noqa: E731
    assert [name(s) for s in found] == [path for path, _ in expected]
    answer = best(found, PRIOR_WEIGHT)
    assert (answer is None) == (not expected)
    if expected:
        path, score = max(expected, key=lambda x: x[1])
        assert name(answer) == path and answer.score(PRIOR_WEIGHT) == pytest.approx(score, abs=1e-5)


def distinct(world, span, seed=0):
    """Values such that no two of a prefix are the same: `span` times k / 512."""
    rng = np.random.default_rng(seed)
    order = np.argsort(rng.random((*world.value.shape[:2], 511)), axis=-1) + 1
    world.value = (span * order[..., : world.K] / 512).astype(np.float32)
    return world


def make_world(K, depth, seed, **settings):
    """Problems of all kinds: with and without duplicates, soon and late at an end; in the last
    third many prefixes have nothing after them that is worth much.
    """
    kind = np.arange(ROWS)[:, None, None]
    finish = np.array([0.0, 0.1, 0.3, 0.6])[kind % 4]
    duplicate = np.array([0.0, 0.3])[kind // 4 % 2]
    world = World(K, depth, seed, finish=finish, duplicate=duplicate, longest=3, **settings)
    poor = np.random.default_rng(seed).random((*world.value.shape[:2], 1)) < 0.5
    return distinct(world, np.where((kind >= 16) & poor, 0.5, 1.0), seed)


def crowd(world):
    """In the first half few values, so that many candidates are worth the same; in the second
    values that lie 2 ** -22 from each other, which float32 tells apart.
    """
    near = distinct(world, 2.0**-13).value + np.float32(0.5)
    few = np.random.default_rng(0).choice((0.25, 0.5, 0.75), near.shape)
    world.value = np.where(EQUAL[:, None, None], few, near).astype(np.float32)
    return world


def over(world, **settings):
    return SearchConfig(
        num_simulations=ALL,
        num_candidates=world.narrow or world.K,
        root_candidates=world.K if world.narrow else 0,
        max_steps=world.depth,
        max_step_tokens=world.longest,
        **{"gumbel_scale": 0.0, "value_threshold": 0.3} | settings,
    )


PLAIN = make_world(4, 4, seed=0)
WIDE_ROOT = make_world(6, 4, seed=1, narrow=2)
EQUAL = np.arange(ROWS) < ROWS // 2
CROWDED = crowd(make_world(4, 3, seed=3))
# The world, the settings, and whether there is a verifier.
GROWN = {
    "plain": (PLAIN, over(PLAIN, heuristic_weight=0.7), False),
    "wide root, verified": (WIDE_ROOT, over(WIDE_ROOT, step_threshold=0.9), True),
    "until solved": (WIDE_ROOT, over(WIDE_ROOT, stop_when_solved=True), True),
}
SCALES = dict(value_scale=1.0, maxvisit_init=3.0)
SEARCHED = {
    "max, length-normalised": (
        PLAIN,
        over(PLAIN, backup="max", prior="length_normalised", **SCALES),
        False,
    ),
    "step by step": (PLAIN, over(PLAIN, commit="step", lookahead=0.5, **SCALES), False),
    "step by step, wide root, verified": (
        WIDE_ROOT,
        over(WIDE_ROOT, commit="step", backup="max"),
        True,
    ),
    "puct, max, until solved": (
        WIDE_ROOT,
        over(WIDE_ROOT, policy="puct", backup="max", stop_when_solved=True),
        True,
    ),
}
BY_SIMULATIONS = [Budget(n) for n in (1, 7, ALL)]
BY_COST = [
    *(Budget(ALL, tokens=n) for n in (16, 40, 90)),
    *(Budget(ALL, flops=n) for n in (4e4, 9e4)),
    Budget(6, tokens=70, flops=9e4),
]


class TableFrontier(OnTable, FrontierSearch):
    """The real search by a rule, but for the sampler."""


class TableMcts(OnTable, TreeSearch):
    """The real MCTS, but for the sampler."""


@pytest.fixture(scope="module")
def play(table_network, random_params, ids):
    """Runs searches on a world's table, each setting compiled once, and all rules in one program:
    `(setting, rule or None for MCTS, budget) -> SearchTree` as arrays.
    """
    params, programs = random_params(table_network), {}
    keys = jax.random.split(jax.random.key(0), ROWS)

    def program_of(world, config, is_verified, is_mcts):
        verifier = table_verifier(world) if is_verified else None
        arguments = table_network, config, SamplerConfig(), steps_of(ids)
        if is_mcts:
            search = verified(TableMcts(world, *arguments), verifier)
            return compiled(lambda _, *rest: search(*rest))
        settings = ExpertSettings(config, SamplerConfig(), GuessConfig())
        rules = []
        for reference in RULES:
            expert = experts.build(reference.__name__, table_network, settings, steps_of(ids))
            assert expert.config == config
            rules.append(expert.rule)

        def run(which, *rest):
            search = TableFrontier(world, any_of(rules, which), *arguments)
            return verified(search, verifier)(*rest)

        return compiled(run)

    def run(setting, rule, budget):
        world, config, is_verified = setting
        name = id(world), config, is_verified, rule is None
        if name not in programs:
            programs[name] = program_of(world, config, is_verified, rule is None)
        which = 0 if rule is None else RULES.index(rule)
        budget = Budget(np.int32(budget.simulations), *map(np.float32, budget[1:]))
        tree = programs[name](np.int32(which), params, *PROMPT, np.arange(ROWS), keys, budget)
        return jax.tree.map(np.asarray, tree)

    return run


def compare_grown(play, setting, rule, budgets, ids, rows=range(ROWS)):
    """The games, `[budgets][rows]`."""
    every = []
    for budget in budgets:
        tree = play(setting, rule, budget)
        every.append([grown(rule, *setting, budget, b) for b in rows])
        for b, game in zip(rows, every[-1], strict=True):
            assert_is_reference(tree, b, Grown(game), ids)
    return every


def sizes(games):
    return np.array([len(game.opened) for game in games])


every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)


@every_rule
@pytest.mark.parametrize("name", GROWN)
def test_the_tree_is_the_rules(name, rule, play, ids):
    """For all budgets of one compiled search, also where the rule ends before the budget does."""
    *_, most = compare_grown(play, GROWN[name], rule, BY_SIMULATIONS, ids)
    nodes = sizes(most)
    assert (nodes < ALL + 1).any() and nodes.max() > 8 and len(set(nodes)) > 3
    config, verified = GROWN[name][1:]
    if verified:
        won = [any(c.won for p in game.opened for c in game.candidates(p)) for game in most]
        assert any(won) and not all(won)
    if rule is thoughts_depth:
        low = [all(c.value < config.value_threshold for c in game.candidates(())) for game in most]
        assert any(low) or name != "plain", "no tree is given up at once"


@every_rule
@pytest.mark.parametrize("name", ["plain", "wide root, verified"])
def test_a_rules_tree_is_paid_for(name, rule, play, ids):
    """In tokens, in FLOPs, and in all three at once."""
    every = compare_grown(play, GROWN[name], rule, BY_COST, ids)
    nodes = np.array([sizes(games) for games in every])
    assert (nodes == 1).any() and len(set(nodes[1])) > 1 and (nodes[0] <= nodes[2]).all()


def searched(*arguments):
    search = Mcts(Game(*arguments))
    try:
        search.grow()
    except Spent:
        pass
    return search


@pytest.mark.parametrize("budgets", [BY_SIMULATIONS, BY_COST], ids=["simulations", "cost"])
@pytest.mark.parametrize("name", SEARCHED)
def test_the_tree_is_mcts(name, budgets, play, ids):
    """With max back-up; and step by step, where only what was not left behind may answer."""
    config, verified = SEARCHED[name][1:]
    every = []
    for budget in budgets:
        tree = play(SEARCHED[name], None, budget)
        every.append([searched(*SEARCHED[name], budget, b) for b in range(ROWS)])
        for b, search in enumerate(every[-1]):
            assert_is_reference(tree, b, search, ids)
    most = every[-1] if budgets is BY_SIMULATIONS else every[2]
    games = [search.game for search in most]
    assert len(set(sizes(games))) > 3
    if config.commit == "step":
        assert any(search.ended for search in most) and any(len(s.at) > 1 for s in most)
        left = [s.game.opened for s in most if any(p[:1] != s.at[:1] for p in s.game.opened[1:])]
        assert left, "no step with a tree of its own was left behind"
    if config.stop_when_solved:
        assert any(search.game.opened == [()] for search in most)


@every_rule
def test_of_equals_the_first_is_taken_and_none_else_is_equal(rule, play, ids):
    """But for the best-first rules: sums of logarithms are as near to each other as float32 is."""
    setting = CROWDED, over(CROWDED, heuristic_weight=0.7), False
    rows = np.arange(ROWS) if rule in BY_VALUE else np.flatnonzero(EQUAL)
    compare_grown(play, setting, rule, BY_SIMULATIONS[1:], ids, rows)
