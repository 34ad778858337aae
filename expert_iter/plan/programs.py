"""The programs that a run compiles, and how often each phase calls them.

They come from the learner, the evaluator and the player that run them, by shapes alone: none of
their devices need be there.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax

from expert_iter.config import Settings
from expert_iter.learn.learner import Learner
from expert_iter.measure.evaluator import Evaluator
from expert_iter.model.tokenizers.marks import TokenIds
from expert_iter.plan.parts import held_bytes
from expert_iter.plan.plan import generated_tokens
from expert_iter.search.player import Player, padded_length

WARM_START, SEARCH, LEARNING, CHECK = "warm start", "search", "learning", "check"
EVALUATION = "evaluation"
ROUND = SEARCH, LEARNING, CHECK  # the phases of a round
UPDATE = "update"
_A_NODE = "expand", "accept"  # parts of a search that are run for each node after the root


class Pieces:
    """Stands for a tokenizer of so many pieces: programs do not depend on their texts."""

    ids = TokenIds(pad=0, bos=1, eos=2, newline=3)

    def __init__(self, vocab_size: int):
        self.vocab_size = vocab_size

    def token_text(self, piece: int) -> str:
        return "\n" if piece == self.ids.newline else "x"


class Program(NamedTuple):
    """A program, or the few that one call runs together.

    Attributes:
      name: of it.
      compile: the parts by name, each with what waits on the devices beside its arguments
        (abstract).
      waiting: bytes on one device that wait there while any part runs.
    """

    name: str
    compile: Callable[[], dict[str, tuple[jax.stages.Compiled, Any]]]
    waiting: float


class Use(NamedTuple):
    """The calls of a program in a phase.

    Attributes:
      phase, program: their names.
      calls: at most, in one such phase.
      tokens: that a call learns, or generates at most.
      budget: simulations or samples of a call.
      depth: most steps on a path of the search tree.
    """

    phase: str
    program: str
    calls: int
    tokens: int
    budget: int = 1
    depth: int = 1

    def times(self, part: str) -> int:
        """How often a call runs this part of the program."""
        return self.budget if part in _A_NODE else 1

    def trips(self, part: str) -> tuple[int, ...]:
        """Of the part's loops whose conditions name no number (see `counts.count`)."""
        return (self.budget, self.depth) if part == "search" else (self.depth,)


def programs(
    s: Settings,
    learner: Learner,
    evaluator: Evaluator,
    players: Mapping[str, Player],
    prompt_tokens: int,
) -> tuple[list[Program], list[Use]]:
    """All programs in the order of a run, and their uses.

    players: of self-play, by their programs' names; prompt_tokens: of the longest prompt.
    """
    state, layout = learner.abstract_state(), evaluator.layout
    held = lambda tree: held_bytes(tree, layout.learning(tree))  # noqa: E731
    waiting = held(state) - held(state.params)
    prompt, params = padded_length(prompt_tokens), state.params
    found = {UPDATE: Program(UPDATE, lambda: {UPDATE: (learner.compile(), ())}, 0.0)}
    uses: list[Use] = []

    def update(phase: str, updates: int) -> None:
        uses.append(Use(phase, UPDATE, updates, s.learner.rows * s.learner.row_tokens))

    def search(
        phase: str,
        name: str,
        player: Player,
        problems: int,
        budgets: Sequence[int],
        in_flight: int = 1,
    ) -> None:
        expert, size = player.expert, player.batch_size
        found[name] = Program(name, partial(player.compile, params, prompt, in_flight), waiting)
        depth = 1 if expert.shares_draws else expert.config.max_steps
        for budget in [expert.most] if expert.shares_draws else budgets:
            tokens = size * generated_tokens(expert, budget)
            uses.append(Use(phase, name, -(-problems // size), tokens, budget, depth))

    def answer(phase: str, method: str, problems: int, budgets: Sequence[int]) -> None:
        name = f"evaluation by {method}"
        search(phase, name, evaluator.player(method), problems, budgets)

    e, expert = s.evaluation, s.run.expert
    update(WARM_START, s.warm_start.updates)
    for name, player in players.items():
        play = s.run.problems_per_round, [player.expert.most], s.run.batches_in_flight
        search(SEARCH, name, player, *play)
    update(LEARNING, s.learner.updates_per_round)
    for method in dict.fromkeys(("greedy", expert)):
        answer(CHECK, method, e.round_problems, [evaluator.round_budget(method)])
    for method in ("greedy", "samples", "mcts"):
        answer(EVALUATION, method, e.problems, evaluator.budgets(method))
    return list(found.values()), uses
