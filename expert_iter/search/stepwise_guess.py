"""Guess-and-check in a world that answers steps: whole solutions, drawn step by step.

The draws of a problem are written together, so that drawing without replacement is exact; each
waits at the end of its steps for the world. The host drives this (`search.driven_guess`).
"""

import jax
import jax.numpy as jnp

from expert_iter.model.state import read_prompt, repeat
from expert_iter.search.candidates import Candidates
from expert_iter.search.drafts import Answers, Draft, Drafts, NewSteps
from expert_iter.search.guess import Guess
from expert_iter.search.search_config import SearchConfig


class StepwiseGuess(Guess):
    """The parts of `Guess.draws`. The problems' rows are repeated where independent draws are
    decoded in groups.

    search: its sizes of steps hold here, too.
    """

    def __init__(self, *arguments, search: SearchConfig):
        super().__init__(*arguments)
        self.search = search

    def run(self, *_):
        """Nothing compiled can ask the world: see `start`, `go_on` and `finish`."""
        raise TypeError("solutions in a world that answers are drawn by the host")

    draws = run

    def start(self, params, token_BxP, length_B, keys_B) -> Draft:
        """Reads the prompts and writes first steps."""
        prompt = read_prompt(self.network, params, token_BxP, length_B)
        keys = jax.vmap(lambda key: jax.random.split(key, self.groups))(keys_B).reshape(-1)
        return self._drafts(params).begin(repeat(prompt, self.groups), keys)

    def new_steps(self, params, draft: Draft) -> NewSteps:
        nothing = jnp.zeros((draft.key.shape[0], 0, 0), jnp.int32)
        return self._drafts(params).new_steps(draft, nothing)

    def go_on(self, params, draft: Draft, answers: Answers) -> Draft:
        """Reads the answers and writes next steps."""
        drafts = self._drafts(params)
        return drafts.go_on(drafts.hear(draft, answers))

    def finish(self, params, draft: Draft, answers: Answers) -> tuple[Candidates, jax.Array]:
        """Reads the answers to the last steps; returns what `draws` does."""
        drafts, M = self._drafts(params), self.config.num_samples
        B, each = draft.key.shape[0] // self.groups, M // self.groups
        drawn = drafts.candidates(drafts.hear(draft, answers))
        drawn = jax.tree.map(lambda x: x.reshape(B, M, *x.shape[2:]), drawn)
        return drawn, jnp.repeat(draft.decoded, each).reshape(B, M)

    def _drafts(self, params) -> Drafts:
        c, who = self.search, (self.network, params, self.sampler, self.steps)
        size = c.max_steps, c.max_step_tokens, c.max_observation_tokens
        return Drafts(*who, self.config.num_samples // self.groups, *size)
