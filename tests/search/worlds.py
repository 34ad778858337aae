"""Worlds whose candidates stand in a table, by problem and prefix, and searches that play on them.

So a search and a second writing of it play the same game. Only the sampler is replaced: choice,
growth, pages, verifier and back-up are the real ones.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from expert_iter.model.transformer_config import TransformerConfig
from expert_iter.search.behaviour import DEAD
from expert_iter.search.bill import Budget
from expert_iter.search.candidates import Candidates
from expert_iter.search.expansion import texts

ROWS, FIRST, FILLER = 24, 4, 15  # candidate k writes FIRST + k, perhaps fillers, then an end mark
# Of the network beside a table.
SHAPE = TransformerConfig(
    num_layers=1, width=8, num_heads=1, num_kv_heads=1, head_dim=4, mlp_width=8
)
VOCAB = 16
PROMPT = np.array([[1, 5, 7]] * ROWS), np.array([3, 2, 1] * (ROWS // 3))


def compiled(function):
    """Jitted in half the time; the programs here are run only a few times."""
    return jax.jit(function, compiler_options={"xla_cpu_use_fusion_emitters": False})


@dataclasses.dataclass
class World:
    """What is drawn at each prefix of each problem; arrays `[problems, prefixes, K]`.

    finish, duplicate: how many of the candidates are finished, and repeat another; numbers, or
    arrays that broadcast against the tables. narrow: how many candidates there are below the root
    (0: K). longest: tokens of a step at most, of 2 at least.
    """

    K: int
    depth: int
    seed: int = 0
    finish: float | np.ndarray = 0.3
    duplicate: float | np.ndarray = 0.2
    narrow: int = 0
    longest: int = 2

    def __post_init__(self):
        shape = ROWS, (self.K + 1) ** (self.depth - 1), self.K
        rng = np.random.default_rng(self.seed)
        self.finished = rng.random(shape) < self.finish
        self.original = np.broadcast_to(np.arange(self.K), shape).copy()
        again = rng.random(shape) < self.duplicate
        again[..., 0] = False
        for k in range(1, self.K):  # a duplicate repeats the first of the candidates before it
            self.original[..., k] = np.where(again[..., k], 0, k)
        self.valid = self.original == np.arange(self.K)
        missing = rng.random(shape) < 0.5  # not drawn at all, rather than drawn again
        if self.narrow:
            self.valid[:, 1:, self.narrow :] = False
            missing[:, 1:, self.narrow :] = True
        self.count = np.where(self.valid, 1, 0)
        self.count[..., 0] += (~self.valid & ~missing).sum(-1)
        self.finished = np.take_along_axis(self.finished, self.original, -1)
        self.value = rng.random(shape).astype(np.float32)
        self.right = rng.random(shape) < 0.4
        self.log_pi = -rng.exponential(size=shape).astype(np.float32)
        self.prior = np.where(self.valid, rng.normal(size=shape), DEAD).astype(np.float32)
        length = rng.integers(2, self.longest + 1, shape)
        self.length = np.take_along_axis(length, self.original, -1)

    def number(self, path):
        """Of the prefix that took these candidates."""
        return sum((k + 1) * (self.K + 1) ** d for d, k in enumerate(path))

    def numbers(self, prefix_BxDxL, depth_B):
        written = jnp.arange(prefix_BxDxL.shape[1]) < depth_B[:, None]
        digit = jnp.where(written, prefix_BxDxL[:, :, 0] - FIRST + 1, 0)
        return jnp.sum(digit * (self.K + 1) ** jnp.arange(digit.shape[1]), axis=1)

    def tokens(self, ids, at=()):
        """What each candidate writes, `[problems, prefixes, K, longest]`; or those at a place."""
        place, last = np.arange(self.longest), self.length[at][..., None] - 1
        end = np.where(self.finished[at], ids.eos, ids.newline)[..., None]
        written = np.where(place == 0, FIRST + self.original[at][..., None], FILLER)
        return np.where(place < last, written, np.where(place == last, end, ids.pad))


class OnTable:
    """Put before a search's class, it replaces the sampler by a world's table.

    The world is the first argument; the search's own come after it.
    """

    def __init__(self, world, *arguments):
        super().__init__(*arguments)
        self.world = world

    def continue_from(self, params, state, problem_B, keys_B, num_candidates, prefix, live_B):
        world, L = self.world, self.config.max_step_tokens

        draw = super().draw

        def look_up(params, state, keys_B, count, *others, whole=False, **options):
            if whole:  # a rollout
                return draw(params, state, keys_B, count, *others, whole=whole, **options)
            at = problem_B, world.numbers(prefix.token, prefix.depth)
            read = lambda table: jnp.asarray(table)[at][:, :count]  # noqa: E731
            valid, finished = read(world.valid), read(world.finished)
            drawn = Candidates(
                token=read(world.tokens(self.steps.ids)),
                length=read(world.length),
                log_pi=read(world.log_pi),
                log_beta=2 * read(world.log_pi),
                prior_logit=read(world.prior),
                count=read(world.count),
                valid=valid,
                finished=finished & valid,
                model_value=read(world.value),
                token_value=jnp.repeat(read(world.value)[..., None], L, axis=-1),
            )
            return drawn, jnp.int32(L)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self, "draw", look_up)
            return super().continue_from(
                params, state, problem_B, keys_B, num_candidates, prefix, live_B
            )


def table_verifier(world):
    """Says what the table says; asked of anything but a finished candidate it says yes. One wrong
    text, and no text is right.
    """

    def verdicts(problem_B, prefix_BxDxL, step_BxKxL, finished_BxK):
        depth_B = jnp.sum(prefix_BxDxL[:, :, 0] > 0, axis=1)
        at = problem_B, world.numbers(prefix_BxDxL, depth_B)
        same = step_BxKxL[..., 0] == FIRST + jnp.asarray(world.original)[at]
        return (jnp.asarray(world.right)[at] & jnp.all(same | ~finished_BxK)) | ~finished_BxK

    return verdicts


def verified(search, verifier):
    """The search's `run`, with a verifier that is traced, `(problem_B, *texts) -> verdict_BxM`:
    of the parts that self-play's driver runs, put together as one program. None: its own `run`.
    """
    if verifier is None:
        return search.run

    def run(params, token_BxP, length_B, problem_B, keys_B, budget):
        budget = Budget.of(budget)

        def verdicts(node):
            return tuple(verifier(problem_B, *asked) for asked in texts(node))

        start = search.start(params, token_BxP, length_B, problem_B, keys_B)
        growth = search.plant(start, search.judged(start.root, verdicts(start.root)), budget)

        def simulate(carry):
            number, growth, expansion = carry
            growth = search.accept(growth, number, expansion, verdicts(expansion.node))
            expansion = search.expand(params, start, growth, number + 1, budget)
            return number + 1, growth, expansion

        first = jnp.int32(1)
        carry = first, growth, search.expand(params, start, growth, first, budget)
        is_live = lambda carry: jnp.any(carry[2].choice.live)  # noqa: E731
        return search.finish(jax.lax.while_loop(is_live, simulate, carry)[1])

    return run


def any_of(rules, which):
    """One of the rules for growing a tree: which, the program learns as it runs."""

    def rule(tree, config):
        each = [lambda tree, rule=rule: rule(tree, config) for rule in rules]
        return jax.lax.switch(which, each, tree)

    return rule
