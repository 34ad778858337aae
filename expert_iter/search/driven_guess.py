"""Guess-and-check that is driven by the host, which answers steps as the task's world does."""

import functools
from collections.abc import Generator
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from expert_iter.pod.mesh import Layout, held_part, on_own_devices
from expert_iter.search.candidates import Candidates
from expert_iter.search.driven_search import AskWorld, row_program, to_the_end
from expert_iter.search.stepwise_guess import StepwiseGuess
from expert_iter.search.tree import SearchTree


class DrivenGuess:
    """`Guess.run`, part by part. Each process drives its own devices and waits for no other.

    layout: of all devices.
    """

    def __init__(self, guess: StepwiseGuess, layout: Layout):
        self._layout, self._own = layout, layout.of_own_rows()
        self._max_steps, self._groups = guess.search.max_steps, guess.groups
        self._of_rows = NamedSharding(self._own.mesh, PartitionSpec(self._own.search_axes))
        kv_heads = guess.network.config.num_kv_heads

        def program(part, inputs: str, outputs: str):
            return row_program(self._own, kv_heads, True, part, inputs, outputs)

        self.start = program(guess.start, "params rows rows rows", "draft")
        self.new_steps = program(guess.new_steps, "params draft", "rows")
        self.go_on = program(guess.go_on, "params draft rows", "draft")
        self.finish = program(guess.finish, "params draft rows", "rows")
        self.keep = jax.jit(guess.kept)

    def __call__(
        self, params, token, length, problem, keys, budget, ask: None, ask_world: AskWorld
    ) -> Generator[None, None, SearchTree]:
        """As `Guess.run`, with arrays of all devices; the tree is of this process's rows. Yields
        where the devices or the world have work that it would wait for.

        Args:
          ask: solutions are verified after the search.
        """
        drawn = yield from self.draws(params, token, length, problem, keys, ask_world)
        return self.keep(drawn, on_own_devices(length, self._own), budget)

    def draws(
        self, params, token, length, problem, keys, ask_world: AskWorld
    ) -> Generator[None, None, tuple[Candidates, jax.Array]]:
        """As `Guess.draws`; see `__call__`."""
        given = on_own_devices((self.gathered(params), token, length, problem, keys), self._own)
        params, token, length, problem, keys = given
        problem_B = np.repeat(held_part(problem), self._groups)
        written = yield from to_the_end(
            self.start(params, token, length, keys),
            self._max_steps,
            functools.partial(self.new_steps, params),
            functools.partial(self.go_on, params),
            functools.partial(ask_world, problem_B),
            self._of_rows,
        )
        return self.finish(params, *written)

    def gathered(self, params) -> Any:
        """Parameters as all parts read them; searches can share them. Nothing is copied twice."""
        return jax.device_put(params, self._layout.searching(params))
