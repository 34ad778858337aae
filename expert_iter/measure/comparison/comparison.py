"""Experts compared at equal bill: all on the same problems, each with the same tokens, or the same
model FLOPs, over several seeds.

A budget is given in generated tokens a problem; the same budget in FLOPs is what plain sampling
spends on so many tokens. Trees are sized to the budget by a rule (`sizes`), not by hand.

Results are kept a row at a time, so a comparison that was interrupted is resumed.
"""

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from expert_iter.measure.comparison import plots as comparison_plots
from expert_iter.measure.comparison import standings
from expert_iter.measure.comparison import tables as standings_tables
from expert_iter.measure.evaluator import ORACLE, Evaluator
from expert_iter.measure.scores import scored
from expert_iter.search.bill import Budget, price
from expert_iter.search.experts import EXPERTS, build
from expert_iter.search.tree import SearchTree
from expert_iter.storage.files import write_atomic
from expert_iter.storage.progress import progress
from expert_iter.tasks.task import Problem
from expert_iter.tasks.verifier.pool import Verifier

ALL = tuple(name for name in EXPERTS if name != "guess")  # which is one of the samplers
READOUTS = {
    "samples": ("best", "value", "min", "product", "mean", "majority", "value_vote", ORACLE),
    "samples_without_replacement": ("best", "value", "likelihood_vote", ORACLE),
}
UNITS = ("tokens", "flops")
# In colour in the pictures; all others are grey.
SHOWN = (
    "samples",
    "samples_without_replacement",
    "beam",
    "best_first",
    "thoughts_depth",
    "mcts",
    "mcts_by_step",
    "mcts_rollouts",
)
FOLDER, ROWS = "comparison", "comparison.json"
_UNLIMITED = 1 << 30  # simulations: the budget is in tokens or FLOPs


class Pilot(NamedTuple):
    """What the network's greedy answers look like: means of tokens a solution and a step, FLOPs of
    the prompt and of a solution after it.
    """

    solution_tokens: float
    step_tokens: float
    prompt_flops: float
    solution_flops: float

    def flops(self, tokens: float) -> float:
        """What plain sampling of so many tokens costs."""
        return self.prompt_flops + self.solution_flops * tokens / self.solution_tokens


class Sizes(NamedTuple):
    """Of the compiled programs for one budget."""

    root_candidates: int
    num_candidates: int
    num_simulations: int
    num_samples: int


def sizes(tokens: int, pilot: Pilot, max_steps: int, rollouts: int = 0) -> Sizes:
    """How wide trees are for a budget of `tokens` a problem.

    With n the candidates that the budget pays for and D the steps of a solution, the root gets
    2.8 √n of them, and no more than 1.2 n / D; nodes below a fifth of that, 1 to 4: wide first
    steps, narrow ones below (from validation problems of Countdown; see docs/results.md).
    """
    depth = max(2, min(max_steps, round(pilot.solution_tokens / pilot.step_tokens)))
    candidate = pilot.step_tokens * (1 + rollouts * (depth - 1))
    paid = tokens / candidate
    root = max(1, math.ceil(min(1.2 * paid / depth, 2.8 * math.sqrt(paid))))
    below = min(max(root // 5, 1), 4)
    left = max(tokens - root * candidate, 0)
    return Sizes(
        root_candidates=root,
        num_candidates=below,
        num_simulations=max(1, math.ceil(1.5 * left / (below * pilot.step_tokens))),
        num_samples=8 * math.ceil(1.25 * tokens / pilot.solution_tokens / 8),
    )


class Comparison:
    """Runs experts over a grid of budgets and seeds, and keeps what came of it in `folder`.

    Args:
      verifier: who judges answers, once a game is over.
      checkpoint: whose parameters these are, in words for people.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        verifier: Verifier,
        params,
        problems: Sequence[Problem],
        folder: Path,
        experts: Sequence[str] = ALL,
        budgets: Sequence[int] = (72, 288, 1152),
        units: Sequence[str] = UNITS,
        seeds: int = 3,
        checkpoint: str = "",
    ):
        self.evaluator, self.verifier, self.checkpoint = evaluator, verifier, checkpoint
        self.params, self.problems, self.folder = params, problems, folder
        self.experts, self.budgets, self.units, self.seeds = experts, budgets, units, seeds
        self.questions = [problem.question for problem in problems]  # no answers in them
        folder.mkdir(parents=True, exist_ok=True)
        self._rows_file = folder / f"rows-{self._fingerprint()}.jsonl"

    def run(self) -> list[dict]:
        """All rows; those of an earlier run with the same network and problems are not made again.

        A row is that of `scores.scored` with `expert`, `readout`, `unit` and `seed`.
        """
        wanted = self._cells()
        rows = [row for row in self._read() if _cell(row) in wanted]
        done = {_cell(row) for row in rows}
        playing = evaluator = None
        label = f"comparing on {len(self.problems)} problems"
        with progress(len(wanted), label, done=len(done), unit="game") as bar:
            for expert, unit, budget, seed in [cell for cell in wanted if cell not in done]:
                tokens = wanted[expert, unit, budget, seed]
                if playing != (expert, tokens):  # seeds share a program
                    playing, evaluator = (expert, tokens), self._for_budget(expert, tokens)
                made = self._play(evaluator, expert, unit, budget, seed)
                with open(self._rows_file, "a") as file:  # a line a game: whole, or not there
                    file.write(json.dumps(made) + "\n")
                rows += made
                accuracy = next(row["accuracy"] for row in made if row["readout"] != ORACLE)
                bar.update(1, expert=expert, budget=f"{budget:.3g} {unit}", accuracy=accuracy)
        return rows

    def write(self, rows: Sequence[dict]) -> str:
        """Tables and pictures into the folder; returns the Markdown."""
        text = standings_tables.to_markdown(rows, self.baseline())
        write_atomic(self.folder / "comparison.csv", standings_tables.to_csv(rows))
        write_atomic(self.folder / "comparison.md", text)
        write_atomic(self.folder / ROWS, json.dumps({"of": self.describe(), "rows": rows}) + "\n")
        for unit in self.units:
            picture = self.folder / f"accuracy_by_{unit}.png"
            shown = [(expert, "best") for expert in SHOWN if expert in self.experts]
            comparison_plots.accuracy_against(rows, unit, picture, shown or None)
        for expert in ("samples", "samples_without_replacement"):
            if expert in self.experts:
                picture = self.folder / f"over_optimisation_{expert}.png"
                comparison_plots.over_optimisation(rows, picture, expert)
        return text

    def describe(self) -> str:
        """Who is compared on what, for people."""
        return f"{len(self.problems)} problems, by {self.checkpoint or 'a network'}"

    def baseline(self) -> standings.Method:
        """What the others are paired with: best-of-N, the better of its two samplers if there."""
        preferred = "samples_without_replacement", "samples", *self.experts
        return next(expert for expert in preferred if expert in self.experts), "best"

    def _play(self, evaluator: Evaluator, expert, unit, budget, seed) -> list[dict]:
        amount = 1 if expert == "greedy" else budget_of(unit, budget)
        readouts = READOUTS.get(expert, ("best",))
        answered = evaluator.answer(self.params, self.questions, expert, [amount], readouts, seed)
        rows = scored(self.verifier, self.problems, answered)
        return [
            {"expert": expert, "readout": readout, "unit": unit, "seed": seed}
            | row
            | {"budget": budget}
            for readout, row in zip(readouts, rows, strict=True)
        ]

    def _cells(self) -> dict[tuple[str, str, float, int], int]:
        """(expert, unit, budget, seed) of all games, those that share a program side by side, each
        with its budget in tokens.
        """
        cells = {}
        for unit in self.units:
            for tokens in self.budgets:
                budget = tokens if unit == "tokens" else round(self.pilot.flops(tokens))
                for expert in self.experts:
                    for seed in range(self.seeds):
                        cells[expert, unit, budget, seed] = tokens
        return cells

    @functools.cached_property
    def pilot(self) -> Pilot:
        """By greedy answers to the questions."""
        evaluator = self.resized(Sizes(1, 1, 1, 1))
        tree, _ = evaluator.play(self.params, self.questions, "greedy", 1, jax.random.key(0))
        found = [s for b in range(len(self.questions)) for s in evaluator.solutions(tree, b)]
        step_tokens = evaluator.settings.search.max_step_tokens
        if found:
            steps = sum(len(s.step_values) for s in found)
            step_tokens = sum(len(s.tokens) + 1 for s in found) / steps
        shape = evaluator.network.config, evaluator.network.vocab_size
        prompts = price(*shape, 0, tree.bill.prefilled, 0, tree.bill.prefilled)
        prompt_flops = float(np.mean(prompts.flops))
        solution_flops = float(np.mean(tree.bill.flops)) - prompt_flops
        tokens = float(np.mean(tree.bill.generated))
        return Pilot(tokens, step_tokens, prompt_flops, solution_flops)

    def searched(self, expert: str, tokens: float) -> tuple[Evaluator, SearchTree]:
        """The trees of an expert at a budget in tokens, and the evaluator that made them."""
        evaluator = self._for_budget(expert, round(tokens))
        key, budget = jax.random.key(evaluator.config.seed), budget_of("tokens", tokens)
        tree, _ = evaluator.play(self.params, self.questions, expert, budget, key)
        return evaluator, tree

    def _for_budget(self, expert: str, tokens: int) -> Evaluator:
        """Set up for an expert at a budget in tokens."""
        base = self.evaluator
        made = build(expert, base.network, base.experts, base.steps)
        rollouts = getattr(made.config, "rollouts", 0)
        return self.resized(sizes(tokens, self.pilot, base.settings.search.max_steps, rollouts))

    def resized(self, size: Sizes) -> Evaluator:
        """With programs of this size, and trees of this width."""
        config = dataclasses.replace(
            self.evaluator.config,
            num_candidates=size.num_candidates,
            root_candidates=size.root_candidates,
            simulations=(size.num_simulations,),
            round_simulations=1,
            round_samples=1,
            samples=(size.num_samples,),
        )
        return dataclasses.replace(self.evaluator, config=config)

    def _read(self) -> list[dict]:
        if not self._rows_file.exists():
            return []
        games = []
        for line in self._rows_file.read_text().splitlines():
            try:
                games.append(json.loads(line))
            except ValueError:  # the last line of a process that was killed while it wrote
                write_atomic(self._rows_file, "".join(json.dumps(g) + "\n" for g in games))
        return [row for game in games for row in game]

    def _fingerprint(self) -> str:
        """Of all that rows depend on besides their own fields."""
        digest = hashlib.sha256()
        for leaf in jax.tree.leaves(self.params):
            digest.update(np.asarray(leaf).tobytes())
        for part in self.evaluator.settings:
            digest.update(repr(part).encode())
        evaluation = self.evaluator.config
        digest.update(repr((evaluation.prior_weight, evaluation.seed)).encode())
        digest.update(repr([(p.id, p.prompt) for p in self.problems]).encode())
        return digest.hexdigest()[:12]


def _cell(row: dict) -> tuple[str, str, float, int]:
    return row["expert"], row["unit"], row["budget"], row["seed"]


def budget_of(unit: str, amount: float) -> Budget:
    """As many simulations as an amount of one of the `UNITS` pays for."""
    return Budget(_UNLIMITED, **{unit: float(amount)})
