"""The warm start: random legal play (rules and format only), or a file of demonstrations."""

import dataclasses

import numpy as np

from expert_iter.errors import UserError
from expert_iter.learn.step_tree import StepTree, StepTreeBuilder
from expert_iter.model.tokenizer import Tokenizer
from expert_iter.tasks.files import read_records
from expert_iter.tasks.task import Problem, Task


@dataclasses.dataclass(frozen=True)
class WarmStartConfig:
    """`updates` on random legal play, or on the JSON lines {"prompt", "solution"} of the file
    `demonstrations`.
    """

    updates: int = 300
    demonstrations: str = ""

    def __post_init__(self):
        if self.updates < 0:
            raise UserError(f"warm_start.updates must not be negative, got {self.updates}")


def path_tree(tokenizer: Tokenizer, prompt: str, solution: str) -> StepTree:
    """A demonstration: a tree without branches, whose every step is to be learned."""
    ids = tokenizer.ids
    builder = StepTreeBuilder(tokenizer.encode_prompt(prompt))
    for step in builder.add_lines(0, (*tokenizer.encode(solution), ids.eos), ids.newline):
        builder.learn_policy(step, 1.0)
    return builder.build()


def read_demonstrations(path: str, tokenizer: Tokenizer) -> list[StepTree]:
    """From a file of JSON lines. Raises UserError, with the line's number, where it is missing or
    damaged.
    """

    def convert(record, line):
        texts = record.get("prompt"), record.get("solution")
        if not all(isinstance(text, str) for text in texts):
            raise ValueError('not a demonstration {"prompt": "…", "solution": "…"}')
        try:
            return path_tree(tokenizer, *texts)
        except UserError as error:
            raise ValueError(error) from None

    return read_records(path, convert)


class WarmStart:
    """An endless supply of warm-start trees, for the warm start itself and for rehearsal later."""

    def __init__(
        self, task: Task, tokenizer: Tokenizer, problems: list[Problem], config: WarmStartConfig
    ):
        self.task, self.tokenizer, self.problems = task, tokenizer, problems
        self.demonstrations = (
            read_demonstrations(config.demonstrations, tokenizer) if config.demonstrations else []
        )
        sample = self.draw(64, np.random.default_rng(0))
        self.mean_size = float(np.mean([tree.size for tree in sample]))

    def draw(self, count: int, rng: np.random.Generator) -> list[StepTree]:
        if self.demonstrations:
            return [
                self.demonstrations[i] for i in rng.integers(len(self.demonstrations), size=count)
            ]
        trees = []
        for i in rng.integers(len(self.problems), size=count):
            problem = self.problems[i]
            trees.append(
                path_tree(self.tokenizer, problem.prompt, self.task.random_play(problem, rng))
            )
        return trees
