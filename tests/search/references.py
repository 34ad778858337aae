"""Every expert that grows a tree, written a second time: plain Python, one tree at a time.

As the papers state them, over paths, lists and heaps. They play on a table of candidates (see
`worlds`).
"""

import dataclasses
import heapq
import math

import numpy as np

from tests.search.worlds import PROMPT, SHAPE, VOCAB


class Spent(Exception):
    """The budget pays for no more."""


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A step after a prefix; `path` says which candidates were taken, this one last."""

    path: tuple
    value: float  # the verdict on a finished text where there is a verifier, 0 for one that was cut
    model_value: float
    prior: float
    log_pi: float
    finished: bool
    won: bool
    open: bool


class Game:
    """One problem: the candidates after each prefix, the prefixes opened so far, and their bill."""

    def __init__(self, world, config, verified, budget, row):
        self.world, self.config, self.verified, self.budget = world, config, verified, budget
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
        won = self.verified and finished and bool(world.right[at])
        model_value, log_pi = float(world.value[at]), float(world.log_pi[at])
        value = float(won) if self.verified and finished else 0.0 if cut else model_value
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
