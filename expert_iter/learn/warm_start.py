"""The warm start: the task's demonstrations (random legal play where it can), or a file of them."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from expert_iter.errors import UserError
from expert_iter.learn.room import Overlong, Room
from expert_iter.learn.step_tree import IMITATED, StepTree, StepTreeBuilder
from expert_iter.model.step_ends import StepEnds
from expert_iter.model.tokenizers.tokenizer import TextTokenizer
from expert_iter.pod import processes
from expert_iter.range_checks import Checks
from expert_iter.tasks.files import read_records
from expert_iter.tasks.task import Problem, Task


@dataclasses.dataclass(frozen=True)
class WarmStartConfig:
    """Supervised learning before the first round.

    Attributes:
      updates: updates of the warm start.
      demonstrations: a file of JSON lines {"prompt", "solution"}. Empty: the task's own
        demonstrations, which are random legal play or the solutions that came with its problems.
    """

    updates: int = 300
    demonstrations: str = ""

    def __post_init__(self):
        Checks("warm_start", self).not_negative("updates")


class Demonstration(NamedTuple):
    """A text to learn from; name: where it was read, or whose it is, for people."""

    name: str
    prompt: str
    solution: str


def path_tree(tokenizer: TextTokenizer, steps: StepEnds, prompt: str, solution: str) -> StepTree:
    """A demonstration: a tree without branches, whose every step is to be learned."""
    builder = StepTreeBuilder(tokenizer.encode_prompt(prompt))
    text = (*tokenizer.encode(solution), tokenizer.ids.eos)
    builder.give(builder.add_text(0, text, steps), IMITATED, 1.0)
    return builder.build()


def read_demonstrations(path: str) -> list[Demonstration]:
    """From a file of JSON lines. Raises UserError, with the line's number, where it is missing or
    damaged.
    """

    def convert(record, line):
        texts = record.get("prompt"), record.get("solution")
        if not all(isinstance(text, str) for text in texts):
            raise ValueError('not a demonstration {"prompt": "…", "solution": "…"}')
        return Demonstration(f"{path}, line {line}", *texts)

    return read_records(path, convert)


class WarmStart:
    """An endless supply of warm-start trees, for the warm start itself and for rehearsal later.

    All fit a row: of longer demonstrations the beginnings are drawn if `cut`, else none of them. Of
    a problem whose demonstrations are random plays one is looked at, and longer ones that turn up
    later are cut or passed over.

    Attributes:
      overlong: the demonstrations that are longer.
      mean_size: tokens of a tree, about; 0 where there is none to be drawn.
    """

    def __init__(
        self,
        task: Task,
        tokenizer: TextTokenizer,
        steps: StepEnds,
        problems: Sequence[Problem],
        config: WarmStartConfig,
        room: Room,
        cut: bool = False,
    ):
        """Raises UserError naming a demonstration that is damaged or that the tokenizer cannot
        write.
        """
        self._task, self._tokenizer, self._steps, self._problems = task, tokenizer, steps, problems
        self._room, self._cut = room, cut
        self._read = read_demonstrations(config.demonstrations) if config.demonstrations else []
        self.overlong, self._drawable, rng = [], [], np.random.default_rng(0)
        for number in range(len(self._read or problems)):
            overlong = self._overlong(self._demonstration(number, rng))
            if overlong:
                self.overlong.append(overlong)
            if not overlong or (cut and not overlong.in_prompt):
                self._drawable.append(number)
        sample = [self._one(child) for child in np.random.default_rng(0).spawn(64)]
        sizes = [tree.size for tree in sample if tree]
        self.mean_size = float(np.mean(sizes)) if sizes else 0.0

    def draw(self, count: int, rng: np.random.Generator) -> dict[int, StepTree]:
        """This process's share of `count` plays, by their numbers; those that are passed over are
        not among them.
        """
        share = slice(processes.index(), None, processes.count())
        drawn = {i: self._one(child) for i, child in list(enumerate(rng.spawn(count)))[share]}
        return {i: tree for i, tree in drawn.items() if tree}

    def _one(self, rng: np.random.Generator) -> StepTree | None:
        if not self._drawable:
            return None
        number = self._drawable[rng.integers(len(self._drawable))]
        _, prompt, solution = self._demonstration(number, rng)
        tree = path_tree(self._tokenizer, self._steps, prompt, solution)
        if self._room.holds(tree.size, len(tree.length)):
            return tree
        return self._room.beginning(tree) if self._cut else None

    def _demonstration(self, number: int, rng: np.random.Generator) -> Demonstration:
        if self._read:
            return self._read[number]
        problem = self._problems[number]
        solution = self._task.demonstration(problem, rng)
        return Demonstration(problem.name, problem.prompt, solution)

    def _overlong(self, demonstration: Demonstration) -> Overlong | None:
        name, prompt, solution = demonstration
        try:
            asked = self._tokenizer.encode_prompt(prompt)
            text = *self._tokenizer.encode(solution), self._tokenizer.ids.eos
        except UserError as error:
            raise UserError(f"{name}: {error}") from None
        tokens, most_steps = len(asked) + len(text), 2 + solution.count("\n")
        if self._room.holds(tokens, most_steps):
            return None
        steps = 1 + len(self._steps.split(text))  # which takes longer than all before
        if self._room.holds(tokens, steps):
            return None
        return Overlong(name, tokens, steps, in_prompt=not self._room.holds(len(asked) + 1, 2))
