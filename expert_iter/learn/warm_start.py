"""The warm start: the task's demonstrations (random legal play where it can), or a file of them."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from expert_iter.errors import UserError
from expert_iter.learn.step_tree import StepTree, StepTreeBuilder
from expert_iter.model.step_ends import StepEnds
from expert_iter.model.tokenizer import TextTokenizer
from expert_iter.pod import processes
from expert_iter.tasks.files import read_records
from expert_iter.tasks.task import Problem, Task


@dataclasses.dataclass(frozen=True)
class WarmStartConfig:
    """`updates` on the task's own demonstrations (random legal play, or the solutions that came
    with its problems), or on the JSON lines {"prompt", "solution"} of the file `demonstrations`.
    """

    updates: int = 300
    demonstrations: str = ""

    def __post_init__(self):
        if self.updates < 0:
            raise UserError(f"warm_start.updates must not be negative, got {self.updates}")


def path_tree(tokenizer: TextTokenizer, steps: StepEnds, prompt: str, solution: str) -> StepTree:
    """A demonstration: a tree without branches, whose every step is to be learned."""
    builder = StepTreeBuilder(tokenizer.encode_prompt(prompt))
    text = (*tokenizer.encode(solution), tokenizer.ids.eos)
    for step in builder.add_text(0, text, steps):
        builder.learn_policy(step, 1.0)
    return builder.build()


def read_demonstrations(path: str, tokenizer: TextTokenizer, steps: StepEnds) -> list[StepTree]:
    """From a file of JSON lines. Raises UserError, with the line's number, where it is missing or
    damaged.
    """

    def convert(record, line):
        texts = record.get("prompt"), record.get("solution")
        if not all(isinstance(text, str) for text in texts):
            raise ValueError('not a demonstration {"prompt": "…", "solution": "…"}')
        try:
            return path_tree(tokenizer, steps, *texts)
        except UserError as error:
            raise ValueError(error) from None

    return read_records(path, convert)


class WarmStart:
    """An endless supply of warm-start trees, for the warm start itself and for rehearsal later."""

    def __init__(
        self,
        task: Task,
        tokenizer: TextTokenizer,
        steps: StepEnds,
        problems: Sequence[Problem],
        config: WarmStartConfig,
    ):
        self.task, self.tokenizer, self.steps, self.problems = task, tokenizer, steps, problems
        self.demonstrations = []
        if config.demonstrations:
            self.demonstrations = read_demonstrations(config.demonstrations, tokenizer, steps)
        sample = [self._one(child) for child in np.random.default_rng(0).spawn(64)]
        self.mean_size = float(np.mean([tree.size for tree in sample]))

    def draw(self, count: int, rng: np.random.Generator) -> dict[int, StepTree]:
        """This process's share of `count` plays, by their numbers."""
        share = slice(processes.index(), None, processes.count())
        return {i: self._one(child) for i, child in list(enumerate(rng.spawn(count)))[share]}

    def _one(self, rng: np.random.Generator) -> StepTree:
        if self.demonstrations:
            return self.demonstrations[rng.integers(len(self.demonstrations))]
        problem = self.problems[rng.integers(len(self.problems))]
        solution = self.task.demonstration(problem, rng)
        return path_tree(self.tokenizer, self.steps, problem.prompt, solution)
