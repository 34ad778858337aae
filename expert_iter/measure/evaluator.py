"""How experts answer held-out questions: without a verifier, and without the answers.

An `Evaluator` sees `Question`s, which hold no answers. What it returns is scored after
(`measure.scores`). Nothing else connects the two.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np

from expert_iter.errors import UserError
from expert_iter.model.step_ends import StepEnds
from expert_iter.model.tokenizers.tokenizer import TextTokenizer
from expert_iter.model.transformer import Network
from expert_iter.pod.mesh import Layout
from expert_iter.range_checks import Checks
from expert_iter.search import experts as experts_lib
from expert_iter.search import readout as readout_lib
from expert_iter.search.bill import Bill, Budget
from expert_iter.search.experts import ExpertSettings
from expert_iter.search.host_world import HostWorld
from expert_iter.search.player import Player, driven
from expert_iter.search.tree import SearchTree
from expert_iter.tasks.task import Question

Propose = Callable[[str, str], str | None]  # (prompt, solution) -> what it proposes, for votes

ORACLE = "oracle"  # the readout that hands all solutions to the verifier: pass@n
USUAL_READOUTS = {"samples": ("majority", "value_vote", "best", ORACLE)}
METHODS = {
    ("samples", "majority"): "majority",
    ("samples", "value_vote"): "value_vote",
    ("samples", "best"): "best_of_n",
    ("samples", ORACLE): "pass_at_n",
}


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """The evaluation before and after training, on the test split, and the check after each round,
    on the validation split.

    Attributes:
      problems: how many of the test split.
      batch_size: problems that are answered at once.
      samples: numbers of samples; each is read out by majority, value vote and best of n.
      simulations: numbers of simulations of MCTS.
      num_candidates: steps that are drawn at a node. 0: as `search` has it.
      root_candidates: steps that are drawn at the root. 0: as `search` has it.
      round_problems: how many of the validation split, after each round.
      round_simulations: simulations of the run's expert, after each round.
      round_samples: the same of an expert that draws whole solutions.
      prior_weight: λ of the readout log v + λ · log π.
      seed: seed of samples and searches.
    """

    problems: int = 256
    batch_size: int = 128
    samples: tuple = (4, 8, 16, 32)
    simulations: tuple = (2, 4, 8, 16)
    num_candidates: int = 0
    root_candidates: int = 0
    round_problems: int = 256
    round_simulations: int = 8
    round_samples: int = 8
    prior_weight: float = 0.1
    seed: int = 0

    def __post_init__(self):
        check = Checks("evaluation", self)
        check.at_least(1, "problems", "batch_size")
        check.at_least(1, "round_problems", "round_simulations", "round_samples")
        check.not_negative("prior_weight", "seed", "num_candidates", "root_candidates")
        for key in ("samples", "simulations"):
            if not all(isinstance(n, int) and n >= 1 for n in getattr(self, key)):
                raise UserError(
                    f"evaluation.{key} must be whole numbers of at least 1, got "
                    f"{getattr(self, key)}"
                )


def evaluated(experts: ExpertSettings, config: EvaluationConfig) -> ExpertSettings:
    """The settings with which experts are evaluated, for the largest of their budgets.

    Raises UserError where a node would get more candidates than the root.
    """
    at_node = config.num_candidates or experts.search.num_candidates
    at_root = config.root_candidates or experts.search.root_candidates
    if 0 < at_root < at_node:
        raise UserError(
            f"evaluation.root_candidates must be at least evaluation.num_candidates (0: as search "
            f"has them), got {at_root} and {at_node}"
        )
    search = dataclasses.replace(
        experts.search,
        num_simulations=max((*config.simulations, config.round_simulations)),
        num_candidates=at_node,
        root_candidates=at_root,
        # The root's noise serves exploration in training. An answer should not depend on it.
        gumbel_scale=0.0,
        stop_when_solved=False,
    )
    guess = dataclasses.replace(
        experts.guess, num_samples=max((*config.samples, config.round_samples))
    )
    return experts._replace(search=search, guess=guess)


class Answers(NamedTuple):
    """What one expert at one budget answered by one readout.

    Attributes:
      expert, readout: their names.
      budget: samples or simulations, or a `Budget`.
      texts: of each question; None where there is no answer.
      bill: [questions]. What the search of each cost.
      seconds: wall time for all questions.
      candidates: for the oracle alone, all texts of each question, of which any may be right.
    """

    expert: str
    readout: str
    budget: int | Budget
    texts: list[str | None]
    bill: Bill
    seconds: float
    candidates: list[list[str]] | None = None

    @property
    def method(self) -> str:
        """What the tables call it."""
        return METHODS.get((self.expert, self.readout), self.expert)


@dataclasses.dataclass(eq=False)
class Evaluator:
    """The experts over one network, without a verifier. All budgets of an expert share one compiled
    program.

    Attributes:
      settings: of the experts in training; `experts` are those in evaluation.
      propose: the task's notion of equal answers, for votes.
      world: who answers steps, if the task has a world.
    """

    network: Network
    tokenizer: TextTokenizer
    steps: StepEnds
    config: EvaluationConfig
    settings: ExpertSettings
    propose: Propose
    layout: Layout
    world: HostWorld | None = None

    def __post_init__(self):
        self.experts = evaluated(self.settings, self.config)
        self._players: dict[str, Player] = {}

    def answer(
        self,
        params,
        questions: Sequence[Question],
        expert: str,
        budgets: Sequence[int | Budget],
        readouts: Sequence[str] = (),
        seed: int = 0,
    ) -> Iterator[Answers]:
        """Lets an expert answer all questions at each budget, read by each readout (its usual ones
        by default; 'oracle' gives all it found to the verifier to choose from).
        """
        key = jax.random.key(self.config.seed + seed)
        trees = self._play_each(params, questions, expert, budgets, key)
        for budget, (tree, seconds) in zip(budgets, trees, strict=True):
            if expert == "samples" and isinstance(budget, int):
                # A program for fewer draws takes a share of the time of the one for most.
                seconds *= budget / tree.candidates.valid.shape[-1]
            found = [self.solutions(tree, b) for b in range(len(questions))]
            texts = [
                [text for s in row for text in [self.tokenizer.decode(s.tokens)] * s.draws]
                for row in found
            ]
            guesses, bill, more = self._guess_where_empty(params, questions, key, found, tree)
            for readout in readouts or USUAL_READOUTS.get(expert, ("best",)):
                if readout == ORACLE:
                    answers, candidates = [None] * len(questions), texts
                else:
                    answers = [
                        guesses[b] if b in guesses else self._choose(question, found[b], readout)
                        for b, question in enumerate(questions)
                    ]
                    candidates = None
                yield Answers(expert, readout, budget, answers, bill, seconds + more, candidates)

    def budgets(self, expert: str) -> Sequence[int]:
        """The budgets of a final evaluation."""
        return {"greedy": (1,), "samples": self.config.samples}.get(expert, self.config.simulations)

    def round_budget(self, expert: str) -> int:
        """The budget of a check after a round."""
        searcher, c = self.player(expert).expert, self.config
        budget = c.round_samples if searcher.shares_draws else c.round_simulations
        return min(budget, searcher.most)

    def solutions(self, tree: SearchTree, b: int) -> list[readout_lib.Solution]:
        return readout_lib.solutions(tree, b, self.steps)

    def search_one(
        self, params, question: Question, budget: int | Budget, expert: str = "mcts"
    ) -> tuple[SearchTree, readout_lib.Solution | None]:
        """The tree of one question, and the solution read out of it."""
        key = jax.random.key(self.config.seed)
        tree, _ = self.play(params, [question], expert, budget, key)
        return tree, readout_lib.best(self.solutions(tree, 0), self.config.prior_weight)

    def play(
        self, params, questions, expert: str, budget: int | Budget, key
    ) -> tuple[SearchTree, float]:
        """The trees of all questions, and the seconds it took. Raises UserError for an expert that
        is not there, and for more samples or simulations than the evaluator was made for.
        """
        [played] = self._play_each(params, questions, expert, [budget], key)
        return played

    def _play_each(
        self, params, questions, expert: str, budgets: Sequence[int | Budget], key
    ) -> Iterator[tuple[SearchTree, float]]:
        player, size = self.player(expert), self.config.batch_size
        most = player.expert.most
        for budget in budgets:
            if isinstance(budget, int) and budget > most:
                raise UserError(
                    f"a budget of {budget} is beyond what {expert} was compiled for, {most}"
                )
        one_search = budgets and player.expert.shares_draws
        for together in [budgets] if one_search else [[budget] for budget in budgets]:
            begin = time.monotonic()
            parts = [
                player.play_each(params, questions[i : i + size], key, together)
                for i in range(0, len(questions), size)
            ]
            seconds = time.monotonic() - begin
            for trees in zip(*parts, strict=True):
                yield jax.tree.map(lambda *rows: np.concatenate(rows), *trees), seconds

    def player(self, expert: str) -> Player:
        """The expert of this name, as it is evaluated."""
        if expert not in self._players:
            made = experts_lib.build(expert, self.network, self.experts, self.steps)
            batch_size, layout = self.config.batch_size, self.layout
            search = driven(made, layout) if self.world else None
            who = made, self.tokenizer, batch_size, layout
            self._players[expert] = Player(*who, search, self.world)
        return self._players[expert]

    def _choose(self, question: Question, found, readout: str) -> str | None:
        propose = lambda s: self.propose(question.prompt, self.tokenizer.decode(s.tokens))  # noqa: E731
        chosen = readout_lib.choose(found, readout, self.config.prior_weight, propose)
        return None if chosen is None else self.tokenizer.decode(chosen.tokens)

    def _guess_where_empty(self, params, questions, key, found, searched: SearchTree):
        """A small tree may not reach any end: then the network's own first guess is the answer,
        and is paid for. Returns the guesses by question, the bill, and the time.
        """
        is_tree = searched.live.shape[1] > 1
        empty = [b for b, solutions in enumerate(found) if is_tree and not solutions]
        if not empty:
            return {}, searched.bill, 0.0
        tree, seconds = self.play(params, [questions[b] for b in empty], "greedy", 1, key)
        bill, guesses = jax.tree.map(np.array, searched.bill), {}
        for at, b in enumerate(empty):
            guesses[b] = self._choose(questions[b], self.solutions(tree, at), "best")
            for total, extra in zip(bill, tree.bill, strict=True):
                total[b] += extra[at]
        return guesses, bill, seconds
