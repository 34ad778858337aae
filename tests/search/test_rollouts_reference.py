"""Rollouts and pages, with a network that writes and reads, against reading every text at once."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from expert_iter.search import experts
from expert_iter.search.behaviour import DEAD, SamplerConfig
from expert_iter.search.bill import flops_per_token
from expert_iter.search.experts import ExpertSettings
from expert_iter.search.guess import GuessConfig
from expert_iter.search.search_config import SearchConfig
from tests.search.worlds import SHAPE, VOCAB, compiled, verified
from tests.steps import steps_of

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


def sum_verifier(problem_B, prefix_BxDxL, step_BxKxL, finished_BxK):
    """Asked of anything but a finished text it says yes."""
    total_BxK = jnp.sum(prefix_BxDxL, axis=(1, 2))[:, None] + jnp.sum(step_BxKxL, axis=-1)
    return right(problem_B[:, None], total_BxK) | ~finished_BxK


@dataclasses.dataclass
class Rolled:
    """A searched batch: its tree, and the texts of its nodes as plain lists."""

    tree: object
    verified: bool
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
        return self.tree.candidates.token[b, n, k, : self.tree.candidates.length[b, n, k]].tolist()

    def prefix(self, b, n):
        return self.prompts[b] + sum(self.steps(b, n), [])

    def drawn(self, b, n):
        """Numbers of the candidates that exist, rollouts not counted."""
        return np.flatnonzero(self.tree.candidates.valid[b, n, : ROLLED.width]).tolist()

    def open(self, b, n):
        """Those that can be continued."""
        last = len(self.steps(b, n)) == ROLLED.max_steps - 1
        return [
            k for k in self.drawn(b, n) if not last and not self.tree.candidates.finished[b, n, k]
        ]

    def rollouts(self, k):
        """Where the rollouts from a candidate stand."""
        first = ROLLED.width + k * ROLLOUTS
        return list(range(first, first + ROLLOUTS))


SLOW = pytest.param("beam, until solved", marks=pytest.mark.slow)  # the others show its two sides


@pytest.fixture(scope="module", params=["beam", SLOW, "mcts, until solved"])
def rolled(request, table_network, random_params, ids):
    is_verified, until_solved = request.param != "beam", "until" in request.param
    rng = np.random.default_rng(0)
    token = np.concatenate([np.ones((PROBLEMS, 1), int), rng.integers(3, 16, (PROBLEMS, 3))], 1)
    length = np.array([1, 4, 3, 2, 4, 2])
    config = dataclasses.replace(ROLLED, stop_when_solved=until_solved)
    settings = ExpertSettings(config, SamplerConfig(temperature=1.3), GuessConfig())
    verifier = sum_verifier if is_verified else None
    build = experts.mcts() if "mcts" in request.param else experts.grown_by(experts.beam.beam)
    search = verified(build(table_network, settings, steps_of(ids)), verifier)
    keys = jax.random.split(jax.random.key(5), PROBLEMS)
    arguments = random_params(table_network), token, length, np.arange(PROBLEMS), keys
    tree = jax.tree.map(np.asarray, compiled(search)(*arguments, 6))
    prompts = [row[:n].tolist() for row, n in zip(token, length, strict=True)]
    return Rolled(tree, is_verified, until_solved, prompts)


def test_what_is_said_of_every_text_is_so_when_it_is_read_at_once(
    rolled, table_network, random_params, ids, read_whole
):
    """Of candidates and rollouts, over pages: log-probability, and the value after each token."""
    tree, texts, where = rolled.tree, [], []
    for b, n in rolled.nodes():
        for k in np.flatnonzero(tree.candidates.valid[b, n]):
            texts.append(rolled.prefix(b, n) + rolled.candidate(b, n, k))
            where.append((b, n, k, len(rolled.prefix(b, n))))
    assert len(texts) > 60 and any(n > 0 and k >= ROLLED.width for _, n, k, _ in where)
    read = read_whole(table_network, random_params(table_network), texts, ids, 4 + 2 * 3 + LONGEST)
    for row, (b, n, k, start) in enumerate(where):
        end = len(texts[row])
        log_pi = read.log_prob[row, start:end].sum()
        assert tree.candidates.log_pi[b, n, k] == pytest.approx(log_pi, abs=1e-4)
        before = read.log_prob[row, len(rolled.prompts[b]) : start].sum()
        assert tree.path_log_pi[b, n] == pytest.approx(before, abs=1e-4)
        values = read.value[row, start:end]
        assert tree.candidates.token_value[b, n, k, : end - start] == pytest.approx(
            values, abs=1e-4
        )
        assert tree.candidates.model_value[b, n, k] == pytest.approx(values[-1], abs=1e-4)


def test_rollouts_go_on_from_open_candidates_to_the_end(rolled, ids):
    tree, ends = rolled.tree, set()
    for b, n in rolled.nodes():
        going_on = rolled.open(b, n)
        expected = rolled.drawn(b, n) + [r for k in going_on for r in rolled.rollouts(k)]
        assert np.flatnonzero(tree.candidates.valid[b, n]).tolist() == expected
        for k in going_on:
            step = rolled.candidate(b, n, k)
            for r in rolled.rollouts(k):
                text = rolled.candidate(b, n, r)
                rest = text[len(step) :]
                assert text[: len(step)] == step and rest
                assert not {ids.pad, ids.bos} & set(text) and ids.eos not in text[:-1]
                finished = text[-1] == ids.eos
                assert finished or len(rest) == LONGEST - ROLLED.max_step_tokens
                assert tree.candidates.finished[b, n, r] == finished
                assert (
                    tree.candidates.count[b, n, r] == 1
                    and tree.candidates.prior_logit[b, n, r] == DEAD
                )
                assert tree.child[b, n, r] == -1 and tree.visits[b, n, r] == 0
                ends.add((finished, ids.newline in rest))
    assert len(ends) == 4


def test_a_candidate_is_worth_what_came_of_it(rolled):
    """The value head's estimate, and the rollouts' worth: of verdicts where there is a verifier."""
    tree, kinds = rolled.tree, set()
    for b, n in rolled.nodes():

        def worth(k):
            """Of a text that has its end, if it is finished."""
            total = sum(sum(rolled.steps(b, n), rolled.candidate(b, n, k)))  # noqa: B023
            won = rolled.verified and bool(tree.candidates.finished[b, n, k]) and right(b, total)  # noqa: B023
            assert tree.won[b, n, k] == won  # noqa: B023
            of_end = float(won) if rolled.verified else float(tree.candidates.model_value[b, n, k])  # noqa: B023
            return of_end if tree.candidates.finished[b, n, k] else 0.0  # noqa: B023

        for k in rolled.drawn(b, n):
            expected = worth(k)
            if k in rolled.open(b, n):
                came = [worth(r) for r in rolled.rollouts(k)]
                rollouts = [float(x) for x in tree.value[b, n, rolled.rollouts(k)]]
                assert rollouts == pytest.approx(came)
                assert tree.q[b, n, rolled.rollouts(k)].tolist() == rollouts
                expected = (1 - WEIGHT) * tree.candidates.model_value[b, n, k] + WEIGHT * np.mean(
                    came
                )
                kinds.add(sum(came) > 0)
            assert tree.value[b, n, k] == pytest.approx(expected, abs=1e-6)
    assert kinds == {True, False}
    if not rolled.verified:
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
