"""Every expert that grows a tree against a second writing of it: plain Python, one tree at a time.

The references are written as the papers state them, over paths, lists and heaps; both play on a
table of candidates (see `worlds`). Rollouts and pages are checked with a real network, against
reading every text at once.
"""

import dataclasses
import heapq
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from expert_iter.model.transformer import Network, TransformerConfig
from expert_iter.search import experts
from expert_iter.search.bill import Budget, flops_per_token
from expert_iter.search.candidates import DEAD, SamplerConfig
from expert_iter.search.experts import ExpertSettings
from expert_iter.search.frontier import FrontierSearch
from expert_iter.search.guess import GuessConfig
from expert_iter.search.mcts import TreeSearch
from expert_iter.search.readout import best, solutions
from expert_iter.search.search_config import SearchConfig
from tests.search.worlds import PROMPT, ROWS, OnTable, World, any_of, compiled, table_judge
from tests.steps import steps_of

SHAPE = TransformerConfig(
    num_layers=1, width=8, num_heads=1, num_kv_heads=1, head_dim=4, mlp_width=8
)
VOCAB = 16
PRIOR_WEIGHT = 0.3  # of the readout
ALL = 20  # simulations


class Spent(Exception):
    """The budget pays for no more."""


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A step after a prefix; `path` says which candidates were taken, this one last."""

    path: tuple
    value: float  # the verdict on a finished text where there is a judge, 0 for one that was cut
    model_value: float
    prior: float
    log_pi: float
    finished: bool
    won: bool
    open: bool


class Game:
    """One problem: the candidates after each prefix, the prefixes opened so far, and their bill."""

    def __init__(self, world, config, judged, budget, row):
        self.world, self.config, self.judged, self.budget = world, config, judged, budget
        self.row, self.opened, self.costs, self.known = row, [], [], {}
        self.open(())
        self.planned = self._planned()

    def candidates(self, prefix):
        """Those that exist and repeat no other."""
        if prefix not in self.known:
            at = self.row, self.world.number(prefix)
            numbers = np.flatnonzero(self.world.valid[at])
            self.known[prefix] = [self._candidate(prefix, int(k)) for k in numbers]
        return self.known[prefix]

    def _candidate(self, prefix, k):
        world, at = self.world, (self.row, self.world.number(prefix), k)
        finished = bool(world.finished[at])
        cut = not finished and len(prefix) + 1 == self.config.max_steps
        won = self.judged and finished and bool(world.right[at])
        model_value, log_pi = float(world.value[at]), float(world.log_pi[at])
        value = float(won) if self.judged and finished else 0.0 if cut else model_value
        prior = float(world.prior[at])
        if self.config.prior == "length_normalised":
            prior = log_pi / int(world.length[at])
        is_open = not finished and not cut
        return Candidate((*prefix, k), value, model_value, prior, log_pi, finished, won, is_open)

    def open(self, prefix):
        """Goes on with a prefix: pays for it, and gives the candidates after it."""
        if self.opened and not self._may_open():
            raise Spent
        assert prefix not in self.opened
        self.opened.append(prefix)
        self.costs.append(self.price(prefix))
        return self.candidates(prefix)

    def value_of(self, prefix):
        """What the last step was worth; nothing led to the root."""
        steps = self.candidates(prefix[:-1]) if prefix else []
        return next((c.value for c in steps if c.path == prefix), 0.0)

    def _may_open(self):
        if len(self.opened) > min(self.budget.simulations, self.config.num_simulations):
            return False
        if self.config.stop_when_solved:
            if any(c.won for prefix in self.opened for c in self.candidates(prefix)):
                return False
        # One more must lead nearer to the budget than stopping here.
        paid, price = sum(self.costs), self.next_price()
        return bool(np.all(abs(paid + price - self.limit) <= abs(self.limit - paid)))

    @property
    def limit(self):
        return np.array([self.budget.tokens, self.budget.flops], float)

    def next_price(self):
        """As those so far on average; the first below the root by its number of candidates."""
        if len(self.costs) == 1:
            return self.costs[0] * self.config.num_candidates / self.config.width
        return np.mean(self.costs[1:], axis=0)

    def _planned(self):
        left = (self.limit - self.costs[0]) / np.maximum(self.next_price(), 1)
        most = min(self.budget.simulations, self.config.num_simulations)
        return max(1, min(most, round(min(*left, 10**6))))

    def steps(self, prefix):
        """Where each of its steps stands in the world's tables."""
        return [(self.row, self.world.number(prefix[:d]), k) for d, k in enumerate(prefix)]

    def lengths(self, prefix):
        return [int(self.world.length[at]) for at in self.steps(prefix)]

    def log_pi(self, prefix):
        return sum(float(self.world.log_pi[at]) for at in self.steps(prefix))

    def price(self, prefix):
        """(tokens, FLOPs): the last step, or the prompt, is read; all that is drawn is written."""
        at = self.row, self.world.number(prefix)
        draws = self.world.count[at].sum()
        written = (self.world.count[at] * self.world.length[at]).sum()
        prompt, steps = PROMPT[1][self.row], self.lengths(prefix)
        read = steps[-1] if steps else prompt
        context = prompt + sum(steps) + written / draws / 2
        c = SHAPE
        heads = c.head_dim * (2 * c.num_heads + 2 * c.num_kv_heads)
        weights = c.num_layers * (c.width * heads + 3 * c.width * c.mlp_width)
        attention = 2 * c.num_layers * c.num_heads * c.head_dim * context
        of_trunk = 2 * (written + read) * (weights + attention)
        return np.array([written, of_trunk + 2 * written * c.width * (VOCAB + 1)], float)

    def below(self, prefix):
        """The prefixes opened at it and below it."""
        return [p for p in self.opened if p[: len(prefix)] == prefix]

    def best_below(self, candidate):
        """The highest value among all there is below a candidate, or its own where nothing is."""
        if candidate.path not in self.opened:
            return candidate.value
        return max(self.best_below(c) for c in self.candidates(candidate.path))


def value(candidate):
    return candidate.value


def beam_search(game, width):
    """Level by level: sort all candidates, keep the best; the finished ones among them are done."""
    level = game.candidates(())
    while level:
        # Stable: of equals the older ones first, but those that are finished after the others.
        ranked = sorted(level, key=lambda c: (-c.value, c.finished))
        kept = [c for c in ranked if c.open or c.finished][:width]
        level = [after for c in kept if c.open for after in game.open(c.path)]


def beam(game):
    """As wide as the plan allows, were all levels but the last full."""
    beam_search(game, max(1, game.planned // max(game.config.max_steps - 1, 1)))


def thoughts_breadth(game):
    beam_search(game, 5)


def diverse_beams(game):
    """Each of the best first steps is gone on with greedily; all beams step together."""
    beams = max(1, game.planned // max(game.config.max_steps - 1, 1))
    first = sorted((c for c in game.candidates(()) if c.open), key=value, reverse=True)
    heads = first[:beams]
    while heads:
        ends = [game.open(c.path) for c in heads]
        ends = [[c for c in end if c.open or c.finished] for end in ends]
        chosen = [max(end, key=lambda c: (c.value, c.open)) for end in ends if end]
        heads = sorted((c for c in chosen if c.open), key=value, reverse=True)


def thoughts_depth(game, prefix=()):
    for candidate in sorted(game.candidates(prefix), key=value, reverse=True):
        if candidate.open and candidate.value >= game.config.value_threshold:
            game.open(candidate.path)
            thoughts_depth(game, candidate.path)


def backtracking(game):
    """The stack holds the nodes on the way, with what was not tried there."""
    contends = lambda c: c.open or c.finished  # noqa: E731
    stack, negative = [], []

    def push(prefix):
        bar = game.config.step_threshold * game.value_of(prefix)
        here = [c for c in game.candidates(prefix) if contends(c)]
        positive = (c for c in here if c.value >= bar)
        stack.append(sorted(positive, key=lambda c: (c.value, c.finished, -c.path[-1])))
        negative.extend((prefix, c) for c in here if c.value < bar and c.open)

    push(())
    while True:
        while stack and not stack[-1]:
            stack.pop()
        if stack:
            step = stack[-1].pop()  # the best is last
            if step.finished:
                return
        elif negative:
            made = lambda x: (x[1].value, -game.opened.index(x[0]), -x[1].path[-1])  # noqa: E731
            least_bad = max(negative, key=made)
            negative.remove(least_bad)
            step = least_bad[1]
        else:
            return
        game.open(step.path)
        push(step.path)


def a_star(game, so_far, step):
    """Best first by f = g + λ·h; g of a candidate is its prefix's `so_far` and its own `step`."""
    heap, g = [], {(): 0.0}

    def put(prefix):
        for c in game.candidates(prefix):
            if c.open:
                h = math.log(max(c.value, 1e-9))
                f = g[prefix] + step(c) + game.config.heuristic_weight * h
                heapq.heappush(heap, (-f, len(game.opened), c.path, g[prefix] + so_far(c)))

    put(())
    while heap:
        *_, prefix, g_of_prefix = heapq.heappop(heap)
        game.open(prefix)
        g[prefix] = g_of_prefix
        put(prefix)


def best_first(game):
    a_star(game, lambda c: c.log_pi, lambda c: c.log_pi)


def best_first_rewards(game):
    """Rewards are the logarithms of values; the candidate's own is in h."""
    a_star(game, lambda c: math.log(max(c.value, 1e-9)), lambda c: 0.0)


RULES = (
    beam,
    thoughts_breadth,
    diverse_beams,
    thoughts_depth,
    backtracking,
    best_first,
    best_first_rewards,
)
# These compare nothing but values.
BY_VALUE = RULES[:5]


def grown(rule, *arguments):
    """The game as the rule left it."""
    game = Game(*arguments)
    try:
        rule(game)
    except Spent:
        pass
    return game


class Mcts:
    """Monte Carlo tree search that works everything out anew from what was opened."""

    def __init__(self, game):
        self.game, self.config = game, game.config
        self.at, self.ended = (), None  # where a search step by step stands, and ended
        self.first = {(): 0.0}
        num_open = sum(c.open for c in game.candidates(()))
        self.schedule = sequential_halving(num_open, game.planned, 1 + self.config.num_simulations)

    def grow(self):
        while any(map(self.is_open, self.game.candidates(()))):
            prefix = ()
            while True:
                chosen = self.choose(prefix)
                if chosen.path not in self.game.opened:
                    break
                prefix = chosen.path
            self.game.open(chosen.path)
            self.first[chosen.path] = self.first_value(chosen)
            if self.config.commit == "step" and self.ended is None:
                self.commit()

    def first_value(self, candidate):
        """A new node's: λ of what its candidates promise, 1 − λ of its own."""
        c, after = self.config, self.game.candidates(candidate.path)
        policy = softmax([x.prior + c.maxvisit_init * c.value_scale * x.value for x in after])
        ahead = sum(p * x.value for p, x in zip(policy, after, strict=True))
        return c.lookahead * ahead + (1 - c.lookahead) * candidate.model_value

    def visits(self, candidate):
        return len(self.game.below(candidate.path))

    def q(self, candidate):
        if self.config.backup == "max":
            return self.game.best_below(candidate)
        below = self.game.below(candidate.path)
        return np.mean([self.first[p] for p in below]) if below else candidate.value

    def is_open(self, candidate):
        """Something may be learned below it, and it was not left behind."""
        path, at = candidate.path, self.at
        on_the_way = path == at[: len(path)] or path[: len(at)] == at
        if not candidate.open or not on_the_way or self.ended is not None:
            return False
        if path not in self.game.opened:
            return True
        return any(map(self.is_open, self.game.candidates(path)))

    def choose(self, prefix):
        """The open candidate that a simulation goes to."""
        c, here = self.config, self.game.candidates(prefix)
        visits = {x.path: self.visits(x) for x in here}
        opened = [x for x in here if self.is_open(x)]
        if c.policy == "puct":
            times = len(self.game.below(prefix))
            weight = c.pb_c_init + math.log((times + c.pb_c_base + 1) / c.pb_c_base)
            policy = dict(
                zip((x.path for x in here), softmax([x.prior for x in here]), strict=True)
            )
            explore = weight * math.sqrt(times)
            score = lambda x: self.q(x) + explore * policy[x.path] / (1 + visits[x.path])  # noqa: E731
        elif not prefix:
            scheduled = self.schedule[len(self.game.opened) - 1]
            away = lambda x: abs(visits[x.path] - scheduled)  # noqa: E731
            nearest = min(map(away, opened))
            opened = [x for x in opened if away(x) == nearest]
            score = lambda x: self.favour(x, visits)  # noqa: E731
        else:
            favours = softmax([self.favour(x, visits) for x in opened])
            policy = dict(zip((x.path for x in opened), favours, strict=True))
            total = 1 + sum(visits.values())
            score = lambda x: policy[x.path] - visits[x.path] / total  # noqa: E731
        return max(opened, key=score)

    def favour(self, candidate, visits):
        """The logit of the improved policy."""
        scale = (self.config.maxvisit_init + max(visits.values())) * self.config.value_scale
        return candidate.prior + scale * self.q(candidate)

    def commit(self):
        """Once its part of the simulations is made, the step that the improved policy favours."""
        part = (len(self.at) + 1) * self.game.planned // self.config.max_steps
        if len(self.game.opened) - 1 < part:
            return
        here = self.game.candidates(self.at)
        visits = {x.path: self.visits(x) for x in here}
        known = [x for x in here if x.finished or visits[x.path]]
        if known:
            chosen = max(known, key=lambda x: self.favour(x, visits))
            if chosen.finished:
                self.ended = chosen.path
            else:
                self.at = chosen.path

    def may_answer(self, prefix, k):
        if self.ended is not None:
            return (*prefix, k) == self.ended
        return prefix[: len(self.at)] == self.at


def softmax(scores):
    weights = np.exp(np.array(scores) - max(scores))
    return weights / weights.sum()


def sequential_halving(arms, planned, length):
    """How often the arm of each pull was pulled before; with two arms left it goes on for ever."""
    if arms <= 1:
        return range(length)
    pulls, rounds, left, phases = [], 0, arms, math.ceil(math.log2(arms))
    while len(pulls) < length:
        for _ in range(max(1, planned // (phases * left))):
            pulls += [rounds] * left
            rounds += 1
        left = max(2, left // 2)
    return pulls


class Grown(Mcts):
    """What the record says of a tree grown by a rule: all in it may answer, q is the best below."""

    def __init__(self, game):
        self.game, self.at, self.ended = game, (), None

    def q(self, candidate):
        return self.game.best_below(candidate)


def assert_is_reference(tree, b, search, ids):
    """Row b is this tree: the same nodes in the same order, the same statistics and bill."""
    game, world = search.game, search.game.world
    n = len(game.opened)
    assert tree.live[b].tolist() == [True] * n + [False] * (tree.live.shape[1] - n)
    places = [(p[:-1], p[-1]) if p else None for p in game.opened]
    assert tree.parent[b, :n].tolist() == [game.opened.index(x[0]) if x else -1 for x in places]
    assert tree.action[b, :n].tolist() == [x[1] if x else -1 for x in places]
    for name in ("valid", "finished", "won"):
        assert not getattr(tree, name)[b, n:].any(), name
    for i, prefix in enumerate(game.opened):
        candidates = game.candidates(prefix)
        k = [c.path[-1] for c in candidates]
        assert np.flatnonzero(tree.valid[b, i]).tolist() == k
        at = b, world.number(prefix)
        inner = lambda name: np.asarray(getattr(tree, name))[b, i, k].tolist()  # noqa: B023, E731
        numbers = {p: j for j, p in enumerate(game.opened)}
        assert inner("token") == world.tokens(ids, at)[k].tolist()
        assert inner("length") == world.length[at][k].tolist()
        assert inner("count") == world.count[at][k].tolist()
        assert inner("finished") == [c.finished for c in candidates]
        assert inner("won") == [c.won for c in candidates]
        assert inner("child") == [numbers.get(c.path, -1) for c in candidates]
        assert inner("visits") == [search.visits(c) for c in candidates]
        assert inner("answerable") == [search.may_answer(prefix, j) for j in k]
        assert inner("q") == pytest.approx([search.q(c) for c in candidates], abs=1e-5)
        for name in ("value", "model_value", "log_pi"):
            expected = [getattr(c, name) for c in candidates]
            assert inner(name) == pytest.approx(expected, abs=1e-6), name
        assert inner("prior_logit") == pytest.approx([c.prior for c in candidates], rel=1e-6)
        assert tree.path_log_pi[b, i] == pytest.approx(game.log_pi(prefix), abs=1e-5)
        others = np.delete(np.arange(tree.valid.shape[2]), k)
        assert not tree.finished[b, i, others].any() and not tree.visits[b, i, others].any()
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
# The world, the settings, and whether there is a judge.
GROWN = {
    "plain": (PLAIN, over(PLAIN, heuristic_weight=0.7), False),
    "wide root, judged": (WIDE_ROOT, over(WIDE_ROOT, step_threshold=0.9), True),
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
    "step by step, wide root, judged": (
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
def table_network():
    return Network(SHAPE, VOCAB)


@pytest.fixture(scope="module")
def play(table_network, random_params, ids):
    """Runs searches on a world's table, each setting compiled once, and all rules in one program:
    `(setting, rule or None for MCTS, budget) -> SearchTree` as arrays.
    """
    params, programs = random_params(table_network), {}
    keys = jax.random.split(jax.random.key(0), ROWS)

    def program_of(world, config, judged, is_mcts):
        judge = table_judge(world) if judged else None
        arguments = table_network, config, SamplerConfig(), steps_of(ids), judge
        if is_mcts:
            return compiled(lambda _, *rest: TableMcts(world, *arguments).run(*rest))
        settings = ExpertSettings(config, SamplerConfig(), GuessConfig())
        rules = []
        for reference in RULES:
            expert = experts.build(reference.__name__, table_network, settings, steps_of(ids))
            assert expert.config == config
            rules.append(expert.rule)

        def run(which, *rest):
            return TableFrontier(world, any_of(rules, which), *arguments).run(*rest)

        return compiled(run)

    def run(setting, rule, budget):
        world, config, judged = setting
        name = id(world), config, judged, rule is None
        if name not in programs:
            programs[name] = program_of(world, config, judged, rule is None)
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
    config, judged = GROWN[name][1:]
    if judged:
        won = [any(c.won for p in game.opened for c in game.candidates(p)) for game in most]
        assert any(won) and not all(won)
    if rule is thoughts_depth:
        low = [all(c.value < config.value_threshold for c in game.candidates(())) for game in most]
        assert any(low) or name != "plain", "no tree is given up at once"


@every_rule
@pytest.mark.parametrize("name", ["plain", "wide root, judged"])
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
    config, judged = SEARCHED[name][1:]
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


# Rollouts and pages, with a network that writes and reads.
ROLLOUTS, WEIGHT = 2, 0.3
ROLLED = SearchConfig(
    num_simulations=6,
    num_candidates=2,
    root_candidates=3,
    max_steps=3,
    max_step_tokens=3,
    rollouts=ROLLOUTS,
    rollout_weight=WEIGHT,
)
PROBLEMS = 6
LONGEST = ROLLED.max_step_tokens * ROLLED.max_steps  # a step, and a rollout after it


def right(problem, total):
    return (problem + total) % 3 == 0


def sum_judge(problem_B, prefix_BxDxL, step_BxKxL, finished_BxK):
    """Asked of anything but a finished text it says yes."""
    total_BxK = jnp.sum(prefix_BxDxL, axis=(1, 2))[:, None] + jnp.sum(step_BxKxL, axis=-1)
    return right(problem_B[:, None], total_BxK) | ~finished_BxK


@dataclasses.dataclass
class Rolled:
    """A searched batch: its tree, and the texts of its nodes as plain lists."""

    tree: object
    judged: bool
    until_solved: bool
    prompts: list

    def nodes(self):
        return [(int(b), int(n)) for b, n in zip(*np.nonzero(self.tree.live), strict=True)]

    def steps(self, b, n):
        """The steps that lead to a node."""
        if n == 0:
            return []
        at = int(self.tree.parent[b, n]), int(self.tree.action[b, n])
        return [*self.steps(b, at[0]), self.candidate(b, *at)]

    def candidate(self, b, n, k):
        return self.tree.token[b, n, k, : self.tree.length[b, n, k]].tolist()

    def prefix(self, b, n):
        return self.prompts[b] + sum(self.steps(b, n), [])

    def drawn(self, b, n):
        """Numbers of the candidates that exist, rollouts not counted."""
        return np.flatnonzero(self.tree.valid[b, n, : ROLLED.width]).tolist()

    def open(self, b, n):
        """Those that can be continued."""
        last = len(self.steps(b, n)) == ROLLED.max_steps - 1
        return [k for k in self.drawn(b, n) if not last and not self.tree.finished[b, n, k]]

    def rollouts(self, k):
        """Where the rollouts from a candidate stand."""
        first = ROLLED.width + k * ROLLOUTS
        return list(range(first, first + ROLLOUTS))


@pytest.fixture(scope="module", params=["beam", "beam, until solved", "mcts, until solved"])
def rolled(request, table_network, random_params, ids):
    judged, until_solved = request.param != "beam", "until" in request.param
    rng = np.random.default_rng(0)
    token = np.concatenate([np.ones((PROBLEMS, 1), int), rng.integers(3, 16, (PROBLEMS, 3))], 1)
    length = np.array([1, 4, 3, 2, 4, 2])
    config = dataclasses.replace(ROLLED, stop_when_solved=until_solved)
    settings = ExpertSettings(config, SamplerConfig(temperature=1.3), GuessConfig())
    judge = sum_judge if judged else None
    build = experts.mcts() if "mcts" in request.param else experts.grown_by(experts.beam.beam)
    search = build(table_network, settings, steps_of(ids), judge)
    keys = jax.random.split(jax.random.key(5), PROBLEMS)
    arguments = random_params(table_network), token, length, np.arange(PROBLEMS), keys
    tree = jax.tree.map(np.asarray, compiled(search.run)(*arguments, 6))
    prompts = [row[:n].tolist() for row, n in zip(token, length, strict=True)]
    return Rolled(tree, judged, until_solved, prompts)


def test_what_is_said_of_every_text_is_so_when_it_is_read_at_once(
    rolled, table_network, random_params, ids, read_whole
):
    """Of candidates and rollouts, over pages: log-probability, and the value after each token."""
    tree, texts, where = rolled.tree, [], []
    for b, n in rolled.nodes():
        for k in np.flatnonzero(tree.valid[b, n]):
            texts.append(rolled.prefix(b, n) + rolled.candidate(b, n, k))
            where.append((b, n, k, len(rolled.prefix(b, n))))
    assert len(texts) > 60 and any(n > 0 and k >= ROLLED.width for _, n, k, _ in where)
    read = read_whole(table_network, random_params(table_network), texts, ids, 4 + 2 * 3 + LONGEST)
    for row, (b, n, k, start) in enumerate(where):
        end = len(texts[row])
        log_pi = read.log_prob[row, start:end].sum()
        assert tree.log_pi[b, n, k] == pytest.approx(log_pi, abs=1e-4)
        before = read.log_prob[row, len(rolled.prompts[b]) : start].sum()
        assert tree.path_log_pi[b, n] == pytest.approx(before, abs=1e-4)
        values = read.value[row, start:end]
        assert tree.token_value[b, n, k, : end - start] == pytest.approx(values, abs=1e-4)
        assert tree.model_value[b, n, k] == pytest.approx(values[-1], abs=1e-4)


def test_rollouts_go_on_from_open_candidates_to_the_end(rolled, ids):
    tree, ends = rolled.tree, set()
    for b, n in rolled.nodes():
        going_on = rolled.open(b, n)
        expected = rolled.drawn(b, n) + [r for k in going_on for r in rolled.rollouts(k)]
        assert np.flatnonzero(tree.valid[b, n]).tolist() == expected
        for k in going_on:
            step = rolled.candidate(b, n, k)
            for r in rolled.rollouts(k):
                text = rolled.candidate(b, n, r)
                rest = text[len(step) :]
                assert text[: len(step)] == step and rest
                assert not {ids.pad, ids.bos} & set(text) and ids.eos not in text[:-1]
                finished = text[-1] == ids.eos
                assert finished or len(rest) == LONGEST - ROLLED.max_step_tokens
                assert tree.finished[b, n, r] == finished
                assert tree.count[b, n, r] == 1 and tree.prior_logit[b, n, r] == DEAD
                assert tree.child[b, n, r] == -1 and tree.visits[b, n, r] == 0
                ends.add((finished, ids.newline in rest))
    assert len(ends) == 4


def test_a_candidate_is_worth_what_came_of_it(rolled):
    """The value head's estimate, and the rollouts' worth: of verdicts where there is a judge."""
    tree, kinds = rolled.tree, set()
    for b, n in rolled.nodes():

        def worth(k):
            """Of a text that has its end, if it is finished."""
            total = sum(sum(rolled.steps(b, n), rolled.candidate(b, n, k)))  # noqa: B023
            won = rolled.judged and bool(tree.finished[b, n, k]) and right(b, total)  # noqa: B023
            assert tree.won[b, n, k] == won  # noqa: B023
            of_end = float(won) if rolled.judged else float(tree.model_value[b, n, k])  # noqa: B023
            return of_end if tree.finished[b, n, k] else 0.0  # noqa: B023

        for k in rolled.drawn(b, n):
            expected = worth(k)
            if k in rolled.open(b, n):
                came = [worth(r) for r in rolled.rollouts(k)]
                rollouts = [float(x) for x in tree.value[b, n, rolled.rollouts(k)]]
                assert rollouts == pytest.approx(came)
                assert tree.q[b, n, rolled.rollouts(k)].tolist() == rollouts
                expected = (1 - WEIGHT) * tree.model_value[b, n, k] + WEIGHT * np.mean(came)
                kinds.add(sum(came) > 0)
            assert tree.value[b, n, k] == pytest.approx(expected, abs=1e-6)
    assert kinds == {True, False}
    if not rolled.judged:
        assert not tree.won.any()


def test_the_first_solution_ends_the_search_where_that_is_wanted(rolled):
    """Found by a candidate or by a rollout, at the root or below."""
    solved = rolled.tree.won.any(-1)
    by_rollout = rolled.tree.won[..., ROLLED.width :].any(-1) & ~rolled.tree.won[
        ..., : ROLLED.width
    ].any(-1)
    sizes = rolled.tree.live.sum(1)
    if rolled.until_solved:
        for b, size in enumerate(sizes):
            assert not solved[b, : size - 1].any()
        assert by_rollout[np.arange(PROBLEMS), sizes - 1].any() and (sizes > 1).any()
        assert (sizes[solved.any(1)] < 7).any()


def test_the_bill_counts_all_that_is_written_and_read(rolled, table_network):
    """Candidates and rollouts; prompts, pages, and each step that rollouts go on from."""
    tree = rolled.tree
    price = lambda context: flops_per_token(SHAPE, VOCAB, context)  # noqa: E731
    for b in range(PROBLEMS):
        written = read = flops = 0
        for n in np.flatnonzero(tree.live[b]):
            steps = rolled.steps(b, n)
            page = len(steps[-1] if steps else rolled.prompts[b])
            lengths = [len(rolled.candidate(b, n, k)) for k in rolled.drawn(b, n)]
            parts = [(sum(lengths), page, sum(lengths) / len(lengths) / 2)]
            going_on = rolled.open(b, n)
            if going_on:
                first = sum(len(rolled.candidate(b, n, k)) for k in going_on)
                all_of = [
                    len(rolled.candidate(b, n, r)) for k in going_on for r in rolled.rollouts(k)
                ]
                rest = sum(all_of) - ROLLOUTS * first
                number = len(going_on)
                parts.append((rest, first, first / number + rest / (number * ROLLOUTS) / 2))
            for new, again, ahead in parts:
                trunk, heads = price(len(rolled.prefix(b, n)) + ahead)
                written, read = written + new, read + again
                flops += (new + again) * trunk + new * heads
        assert tree.bill.generated[b] == written
        assert tree.bill.prefilled[b] == read
        assert tree.bill.flops[b] == pytest.approx(flops, rel=1e-5)
        assert tree.bill.lockstep[b] == lockstep(rolled, b)


def lockstep(rolled, b):
    """All rows, candidates and rollouts that write at once pay for the longest of them."""
    total = 0
    for n in np.flatnonzero(rolled.tree.live[b]):
        beside = [row for row, node in rolled.nodes() if node == n]
        steps = [len(rolled.candidate(row, n, k)) for row in beside for k in rolled.drawn(row, n)]
        total += max(steps) * (ROLLED.num_candidates if n else ROLLED.width)
        if rolled.open(b, n):
            rests = [
                len(rolled.candidate(row, n, r)) - len(rolled.candidate(row, n, k))
                for row in beside
                for k in rolled.open(row, n)
                for r in rolled.rollouts(k)
            ]
            total += max(rests) * ROLLED.width * ROLLOUTS
    return total
