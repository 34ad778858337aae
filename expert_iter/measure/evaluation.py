"""Evaluation on held-out problems: every method answers questions first, and is judged only after.

`Contest.answer` sees `Question`s, which hold no answers, and has no verifier; `judge` compares what
it returned with the problems. Nothing else connects the two.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np

from expert_iter.errors import UserError
from expert_iter.measure.bootstrap import interval
from expert_iter.model.tokenizer import Tokenizer
from expert_iter.model.transformer import Network
from expert_iter.search import readout
from expert_iter.search.bill import Bill, price
from expert_iter.search.candidates import SamplerConfig
from expert_iter.search.guess import Guess, GuessConfig
from expert_iter.search.mcts import SearchConfig, TreeSearch
from expert_iter.search.player import Player
from expert_iter.search.tree import SearchTree
from expert_iter.tasks.task import Problem, Question

Propose = Callable[[str, str], str | None]  # (prompt, solution) -> what it proposes, for votes


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """Final evaluation: on `problems` of the test split, with each number of `samples` (majority,
    value vote, best of n) and each number of `simulations`, of num_candidates a node. While
    training: greedy, and MCTS at round_simulations, on round_problems of the validation split.
    prior_weight: λ of the readout log v + λ · log π.
    """

    problems: int = 256
    batch_size: int = 128
    samples: tuple = (4, 8, 16, 32)
    simulations: tuple = (2, 4, 8, 16)
    num_candidates: int = 8
    round_problems: int = 256
    round_simulations: int = 8
    prior_weight: float = 0.1
    seed: int = 0

    def __post_init__(self):
        for key in (
            "problems",
            "batch_size",
            "num_candidates",
            "round_problems",
            "round_simulations",
        ):
            if getattr(self, key) < 1:
                raise UserError(f"evaluation.{key} must be at least 1, got {getattr(self, key)}")
        for key in ("samples", "simulations"):
            if not all(isinstance(n, int) and n >= 1 for n in getattr(self, key)):
                raise UserError(
                    f"evaluation.{key} must be whole numbers of at least 1, got "
                    f"{getattr(self, key)}"
                )
        if self.prior_weight < 0 or self.seed < 0:
            raise UserError(
                "evaluation.prior_weight and seed must not be negative, got "
                f"{self.prior_weight}, {self.seed}"
            )


class Entry(NamedTuple):
    """What one method at one budget answered: a text (or none) for each question, its bill, its
    wall time.

    `candidates`: for the oracle only, all texts of a question, of which any may be right.
    """

    method: str
    budget: int
    texts: list[str | None]
    bill: Bill
    seconds: float
    candidates: list[list[str]] | None = None


class Contest:
    """The methods over one network. All budgets of a method share one compiled program."""

    def __init__(
        self,
        network: Network,
        tokenizer: Tokenizer,
        config: EvaluationConfig,
        search: SearchConfig,
        sampler: SamplerConfig,
        guess: GuessConfig,
        propose: Propose,
    ):
        self.config, self.network, self.tokenizer, self.propose = (
            config,
            network,
            tokenizer,
            propose,
        )
        player = lambda expert: Player(expert, tokenizer, config.batch_size)  # noqa: E731
        greedy = dataclasses.replace(sampler, temperature=0.0, replacement=True)
        self._greedy = player(
            Guess(network, dataclasses.replace(guess, num_samples=1), greedy, tokenizer.ids)
        )
        independent = dataclasses.replace(sampler, replacement=True)
        many = dataclasses.replace(guess, num_samples=max(config.samples, default=1))
        self._samples = player(Guess(network, many, independent, tokenizer.ids))
        # The root's noise serves exploration in training; an answer should not hang on it.
        search = dataclasses.replace(
            search,
            num_simulations=max((*config.simulations, config.round_simulations)),
            num_candidates=config.num_candidates,
            gumbel_scale=0.0,
        )
        self._mcts = player(TreeSearch(network, search, sampler, tokenizer.ids))

    def answer(
        self, params, questions: Sequence[Question], method: str, budgets: Sequence[int]
    ) -> Iterator[Entry]:
        """Lets 'greedy', 'samples' or 'mcts' answer all questions at each budget."""
        key = jax.random.key(self.config.seed)
        if method == "greedy":
            tree, seconds = self._play(self._greedy, params, questions, key, 1)
            yield Entry("greedy", 1, self._greedy_texts(tree), tree.bill, seconds)
        elif method == "samples":
            tree, seconds = self._play(self._samples, params, questions, key, None)
            yield from self._sample_entries(tree, questions, budgets, seconds)
        elif method == "mcts":
            for budget in budgets:
                tree, seconds = self._play(self._mcts, params, questions, key, budget)
                yield self._mcts_entry(tree, params, questions, key, budget, seconds)
        else:
            raise UserError(f"there is no method {method!r}; there are greedy, samples, mcts")

    def budgets(self, method: str) -> Sequence[int]:
        """The budgets of a final evaluation."""
        return {"samples": self.config.samples, "mcts": self.config.simulations}.get(method, (1,))

    def search_one(
        self, params, question: Question, budget: int
    ) -> tuple[SearchTree, readout.Solution | None]:
        """The tree of one question, and the solution read out of it."""
        tree = self._mcts.play(params, [question], jax.random.key(self.config.seed), budget)
        return tree, readout.best(readout.solutions(tree, 0), self.config.prior_weight)

    def _play(self, player: Player, params, questions, key, budget) -> tuple[SearchTree, float]:
        begin, size = time.monotonic(), self.config.batch_size
        trees = [
            player.play(params, questions[i : i + size], key, budget)
            for i in range(0, len(questions), size)
        ]
        tree = jax.tree.map(lambda *parts: np.concatenate(parts), *trees)
        return tree, time.monotonic() - begin

    def _text(self, solution: readout.Solution | None) -> str | None:
        return None if solution is None else self.tokenizer.decode(solution.tokens)

    def _greedy_texts(self, tree: SearchTree) -> list[str | None]:
        return [
            self._text(next(iter(readout.solutions(tree, b)), None)) for b in range(len(tree.live))
        ]

    def _sample_entries(self, tree: SearchTree, questions, budgets, seconds) -> Iterator[Entry]:
        drawn = tree.length.shape[-1]
        texts = [
            [
                self.tokenizer.decode(tree.token[b, 0, i, : tree.length[b, 0, i] - 1])
                if tree.finished[b, 0, i]
                else None
                for i in range(drawn)
            ]
            for b in range(len(questions))
        ]
        proposals = [
            [None if text is None else self.propose(question.prompt, text) for text in row]
            for question, row in zip(questions, texts, strict=True)
        ]
        values = np.where(tree.finished, tree.model_value, 0.0)[:, 0]
        with np.errstate(divide="ignore"):
            scores = np.log(values) + self.config.prior_weight * tree.log_pi[:, 0]
        for n in budgets:
            # Draws are exchangeable: the first n are n draws, and cost what they wrote.
            generated, prompt = tree.length[:, 0, :n].sum(-1), tree.bill.prefilled
            lockstep, context = tree.bill.lockstep * n / drawn, prompt + generated / n / 2
            bill = price(
                self.network.config, self.network.vocab_size, generated, prompt, lockstep, context
            )
            time_share = seconds * n / drawn
            votes = {"majority": np.ones_like(values), "value_vote": values}
            for method, weights in votes.items():
                picks = [
                    readout.vote(p[:n], w[:n]) for p, w in zip(proposals, weights, strict=True)
                ]
                chosen = [
                    None if i is None else row[i] for i, row in zip(picks, texts, strict=True)
                ]
                yield Entry(method, n, chosen, bill, time_share)
            best = [row[i] for i, row in zip(scores[:, :n].argmax(-1), texts, strict=True)]
            yield Entry("best_of_n", n, best, bill, time_share)
            candidates = [[text for text in row[:n] if text is not None] for row in texts]
            yield Entry("pass_at_n", n, best, bill, time_share, candidates)

    def _mcts_entry(self, tree: SearchTree, params, questions, key, budget, seconds) -> Entry:
        found = [
            readout.best(readout.solutions(tree, b), self.config.prior_weight)
            for b in range(len(questions))
        ]
        texts, bill = [self._text(solution) for solution in found], tree.bill
        empty = [b for b, solution in enumerate(found) if solution is None]
        if empty:
            # A small tree may not reach any end: then the network's own first guess is the answer,
            # and is paid for.
            guess, more = self._play(self._greedy, params, [questions[b] for b in empty], key, 1)
            seconds += more
            bill = jax.tree.map(np.array, bill)
            for at, (b, text) in enumerate(zip(empty, self._greedy_texts(guess), strict=True)):
                texts[b] = text
                for total, extra in zip(bill, guess.bill, strict=True):
                    total[b] += extra[at]
        return Entry("mcts", budget, texts, bill, seconds)


def legal_share(
    is_legal: Callable[[Problem, str], bool], problems: Sequence[Problem], entry: Entry
) -> float:
    """Share of answers that keep to the rules, whether or not they are right."""
    pairs = zip(problems, entry.texts, strict=True)
    return float(np.mean([text is not None and is_legal(p, text) for p, text in pairs]))


def judge(
    verdict: Callable[[Problem, str], bool], problems: Sequence[Problem], entry: Entry
) -> dict:
    """Scores an entry by the verifier: a row of the results table, with the verdict on each problem
    as `correct`.
    """
    if entry.candidates is not None:
        correct = [
            any(verdict(p, t) for t in texts)
            for p, texts in zip(problems, entry.candidates, strict=True)
        ]
    else:
        correct = [
            t is not None and verdict(p, t) for p, t in zip(problems, entry.texts, strict=True)
        ]
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
        "problems": len(problems),
        "correct": "".join(map(str, np.array(correct, int))),
    }
