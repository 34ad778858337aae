"""Hindsight: a text that misses its problem's target solves another problem, and teaches that
(Andrychowicz et al. 2017, Hindsight Experience Replay).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from expert_iter.errors import UserError
from expert_iter.learn.step_tree import Origin, StepTree
from expert_iter.learn.warm_start import path_tree
from expert_iter.model.step_ends import StepEnds
from expert_iter.model.tokenizers.tokenizer import TextTokenizer
from expert_iter.search.readout import path, step_tokens
from expert_iter.search.self_play import Searched
from expert_iter.tasks.task import Problem, Task
from expert_iter.tasks.verifier.observer import Observer

_TRIES = 8  # texts of a tree; many come to nothing that may be a target


class Hindsight:
    """Makes demonstrations of what searches that solved nothing have finished.

    share: of those searches.
    """

    def __init__(
        self,
        task: Task,
        tokenizer: TextTokenizer,
        steps: StepEnds,
        share: float,
        observer: Observer | None = None,
    ):
        """observer: who asks the task's world, if it has one.

        Raises UserError where the task cannot tell which problem a text solves.
        """
        if share and not hasattr(task, "relabel"):
            raise UserError(
                "learner.hindsight: this task cannot tell which problem a text solves; set 0"
            )
        self._task, self._tokenizer, self._steps, self._share = task, tokenizer, steps, share
        self._observer = observer

    def trees(
        self, searched: Searched, rngs: Sequence[np.random.Generator]
    ) -> list[StepTree | None]:
        """A demonstration of each searched problem, or None. rngs: one a problem."""
        return [self._tree(searched, row, rng) for row, rng in enumerate(rngs)]

    def _tree(self, searched: Searched, row: int, rng: np.random.Generator) -> StepTree | None:
        tree, problem = searched.trees, searched.problems[row]
        if not self._share or tree.won[row].any() or rng.random() >= self._share:
            return None
        c = tree.candidates
        finished = np.argwhere(c.finished[row] & c.valid[row] & tree.live[row, :, None])
        for node, k in rng.permutation(finished)[:_TRIES]:
            steps = [*path(tree, row, node), (node, k)]
            text = self._tokenizer.decode(
                [token for step in steps for token in step_tokens(tree, row, *step)]
            )
            if relabelled := self._task.relabel(problem, text):
                return self._demonstration(searched, problem.id, *relabelled)
        return None

    def _demonstration(
        self, searched: Searched, id: str, problem: Problem, solution: str
    ) -> StepTree:
        made = path_tree(
            self._tokenizer,
            self._steps,
            problem.prompt,
            solution,
            self._observer,
            right=True,
        )
        origin = Origin(id, searched.round, searched.unit, searched.updates)
        return dataclasses.replace(made, origin=origin)
