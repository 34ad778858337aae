"""Evaluation on held-out problems: every method answers questions first, and is judged only after.

`Contest.answer` sees `Question`s, which hold no answers, and has no verifier; `judged` compares
what it returned with the problems. Nothing else connects the two.
"""

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import NamedTuple

import jax
import numpy as np

from expert_iter.checks import Checks
from expert_iter.errors import UserError
from expert_iter.measure.bootstrap import interval
from expert_iter.model.step_ends import StepEnds
from expert_iter.model.tokenizers.tokenizer import TextTokenizer
from expert_iter.model.transformer import Network
from expert_iter.pod import collectives
from expert_iter.pod.mesh import Layout
from expert_iter.search import experts as experts_lib
from expert_iter.search import readout as readout_lib
from expert_iter.search.bill import Bill, Budget
from expert_iter.search.experts import ExpertSettings
from expert_iter.search.player import Player
from expert_iter.search.tree import SearchTree
from expert_iter.tasks.task import Problem, Question
from expert_iter.tasks.verifier.pool import Verifier

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
      num_candidates: steps that are drawn at a node.
      root_candidates: steps that are drawn at the root. 0: num_candidates.
      round_problems: how many of the validation split, after each round.
      round_simulations: simulations of MCTS, after each round.
      prior_weight: λ of the readout log v + λ · log π.
      seed: seed of samples and searches.
    """

    problems: int = 256
    batch_size: int = 128
    samples: tuple = (4, 8, 16, 32)
    simulations: tuple = (2, 4, 8, 16)
    num_candidates: int = 8
    root_candidates: int = 0
    round_problems: int = 256
    round_simulations: int = 8
    prior_weight: float = 0.1
    seed: int = 0

    def __post_init__(self):
        check = Checks("evaluation", self)
        check.at_least(1, "problems", "batch_size", "num_candidates")
        check.at_least(1, "round_problems", "round_simulations")
        check.not_negative("prior_weight", "seed", "root_candidates")
        for key in ("samples", "simulations"):
            if not all(isinstance(n, int) and n >= 1 for n in getattr(self, key)):
                raise UserError(
                    f"evaluation.{key} must be whole numbers of at least 1, got "
                    f"{getattr(self, key)}"
                )


class Entry(NamedTuple):
    """What one expert at one budget answered by one readout: a text (or none) for each question,
    its bill, its wall time.

    `candidates`: for the oracle only, all texts of a question, of which any may be right.
    """

    expert: str
    readout: str
    budget: int
    texts: list[str | None]
    bill: Bill
    seconds: float
    candidates: list[list[str]] | None = None

    @property
    def method(self) -> str:
        """What the tables call it."""
        return METHODS.get((self.expert, self.readout), self.expert)


class Contest:
    """The experts over one network, none of which has a judge. All budgets of an expert share one
    compiled program.

    propose: the task's notion of equal answers, for votes.
    """

    def __init__(
        self,
        network: Network,
        tokenizer: TextTokenizer,
        steps: StepEnds,
        config: EvaluationConfig,
        experts: ExpertSettings,
        propose: Propose,
        layout: Layout,
    ):
        self.config, self.network, self.tokenizer = config, network, tokenizer
        self.layout = layout
        self.steps, self.propose = steps, propose
        # The root's noise serves exploration in training; an answer should not hang on it.
        search = dataclasses.replace(
            experts.search,
            num_simulations=max((*config.simulations, config.round_simulations)),
            num_candidates=config.num_candidates,
            root_candidates=config.root_candidates,
            gumbel_scale=0.0,
            stop_when_solved=False,
        )
        guess = dataclasses.replace(experts.guess, num_samples=max(config.samples, default=1))
        self.experts = experts._replace(search=search, guess=guess)
        self._players: dict[str, Player] = {}

    def answer(
        self,
        params,
        questions: Sequence[Question],
        expert: str,
        budgets: Sequence[int | Budget],
        readouts: Sequence[str] = (),
        seed: int = 0,
    ) -> Iterator[Entry]:
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
            guesses, bill, more = {}, tree.bill, 0.0
            if tree.live.shape[1] > 1:
                guesses, bill, more = self._guess_where_empty(params, questions, key, found, bill)
            for readout in readouts or USUAL_READOUTS.get(expert, ("best",)):
                if readout == ORACLE:
                    answers, candidates = [None] * len(questions), texts
                else:
                    answers = [
                        guesses[b] if b in guesses else self._choose(question, found[b], readout)
                        for b, question in enumerate(questions)
                    ]
                    candidates = None
                yield Entry(expert, readout, budget, answers, bill, seconds + more, candidates)

    def budgets(self, expert: str) -> Sequence[int]:
        """The budgets of a final evaluation."""
        return {"greedy": (1,), "samples": self.config.samples}.get(expert, self.config.simulations)

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
        is not there, and for more samples or simulations than the contest was set up for.
        """
        [played] = self._play_each(params, questions, expert, [budget], key)
        return played

    def _play_each(
        self, params, questions, expert: str, budgets: Sequence[int | Budget], key
    ) -> Iterator[tuple[SearchTree, float]]:
        if expert not in self._players:
            made = experts_lib.build(expert, self.network, self.experts, self.steps)
            batch_size, layout = self.config.batch_size, self.layout
            self._players[expert] = Player(made, self.tokenizer, batch_size, layout)
        player, size = self._players[expert], self.config.batch_size
        most = player.expert.most
        for budget in budgets:
            if isinstance(budget, int) and budget > most:
                raise UserError(
                    f"a budget of {budget} is beyond what {expert} was set up for, {most}"
                )
        for together in (
            [budgets] if player.draws_once and budgets else [[budget] for budget in budgets]
        ):
            begin = time.monotonic()
            parts = [
                player.play_each(params, questions[i : i + size], key, together)
                for i in range(0, len(questions), size)
            ]
            seconds = time.monotonic() - begin
            for trees in zip(*parts, strict=True):
                yield jax.tree.map(lambda *rows: np.concatenate(rows), *trees), seconds

    def _choose(self, question: Question, found, readout: str) -> str | None:
        propose = lambda s: self.propose(question.prompt, self.tokenizer.decode(s.tokens))  # noqa: E731
        chosen = readout_lib.choose(found, readout, self.config.prior_weight, propose)
        return None if chosen is None else self.tokenizer.decode(chosen.tokens)

    def _guess_where_empty(self, params, questions, key, found, bill: Bill):
        """A small tree may not reach any end: then the network's own first guess is the answer,
        and is paid for. Returns the guesses by question, the bill, and the time.
        """
        empty = [b for b, solutions in enumerate(found) if not solutions]
        if not empty:
            return {}, bill, 0.0
        tree, seconds = self.play(params, [questions[b] for b in empty], "greedy", 1, key)
        bill, guesses = jax.tree.map(np.array, bill), {}
        for at, b in enumerate(empty):
            guesses[b] = self._choose(questions[b], self.solutions(tree, at), "best")
            for total, extra in zip(bill, tree.bill, strict=True):
                total[b] += extra[at]
        return guesses, bill, seconds


def legal_share(
    is_legal: Callable[[Problem, str], bool], problems: Sequence[Problem], entry: Entry
) -> float:
    """Share of answers that keep to the rules, whether or not they are right."""
    pairs = zip(problems, entry.texts, strict=True)
    return float(np.mean([text is not None and is_legal(p, text) for p, text in pairs]))


def judged(
    verdicts: Verifier, problems: Sequence[Problem], entries: Iterable[Entry]
) -> Iterator[dict]:
    """Scores entries by the verifier, each while the next one is being searched: rows of the
    results table, with the verdict on each problem as `correct`. Each process judges its share.
    """
    waiting = None
    for entry in entries:
        answers = entry.candidates or [[text] for text in entry.texts]
        answers = [list(dict.fromkeys(texts)) for texts in answers]
        counts = [len(texts) for texts in answers]
        asked = [p for p, n in zip(problems, counts, strict=True) for _ in range(n)]
        texts = [text for texts in answers for text in texts]
        future = verdicts.submit(collectives.local_shard(asked), collectives.local_shard(texts))
        if waiting is not None:
            yield _row(*waiting)
        waiting = entry, counts, future
    if waiting is not None:
        yield _row(*waiting)


def _row(entry: Entry, counts: Sequence[int], future: Future[list[bool]]) -> dict:
    given = iter(collectives.gather_shards(future.result()))
    correct = [any([next(given) for _ in range(count)]) for count in counts]
    accuracy, low, high = interval(correct)
    return {
        "method": entry.method,
        "budget": entry.budget,
        "accuracy": accuracy,
        "low": low,
        "high": high,
        "tokens": float(np.mean(entry.bill.generated)),
        "prefill_tokens": float(np.mean(entry.bill.prefilled)),
        "flops": float(np.mean(entry.bill.flops)),
        "seconds": entry.seconds,
        "problems": len(correct),
        "correct": "".join(map(str, np.array(correct, int))),
    }
