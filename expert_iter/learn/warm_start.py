"""The warm start: the task's demonstrations (random legal play where it can), or a file of them."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from expert_iter.errors import UserError
from expert_iter.learn.objectives.value import Value
from expert_iter.learn.room import Overlong, Room
from expert_iter.learn.step_tree import IMITATED, OBSERVED, Column, StepTree, StepTreeBuilder
from expert_iter.model.step_ends import StepEnds
from expert_iter.model.tokenizers.tokenizer import TextTokenizer
from expert_iter.pod import processes
from expert_iter.range_checks import Checks
from expert_iter.search.host_world import replayed
from expert_iter.tasks.files import read_records
from expert_iter.tasks.task import Problem, Task
from expert_iter.tasks.verifier.observer import Observer
from expert_iter.tasks.world import World


@dataclasses.dataclass(frozen=True)
class WarmStartConfig:
    """Supervised learning before the first round.

    Attributes:
      updates: updates of the warm start.
      demonstrations: a file of JSON lines {"prompt", "solution"}. Empty: the task's own
        demonstrations, which are random legal play or the solutions that came with its problems.
      hindsight: share of the task's own demonstrations that are shown with the problem that they do
        solve in place of the one that they were played for, in [0, 1]. For tasks that can tell.
      value_targets: also teaches the value head what the task's demonstrations came to, then and in
        rehearsal.
    """

    updates: int = 300
    demonstrations: str = ""
    hindsight: float = 0.0
    value_targets: bool = False

    def __post_init__(self):
        check = Checks("warm_start", self)
        check.not_negative("updates")
        check.share("hindsight")
        if self.demonstrations and (self.hindsight or self.value_targets):
            raise UserError(
                "warm_start.hindsight and warm_start.value_targets are for a task's own "
                "demonstrations: leave out warm_start.demonstrations"
            )


class Demonstration(NamedTuple):
    """A text to learn from.

    Attributes:
      name: where it was read, or whose it is, for people.
      prompt, solution: the text.
      right: the verdict on it, for the value head; None: it learns nothing.
    """

    name: str
    prompt: str
    solution: str
    right: bool | None = None


def path_tree(
    tokenizer: TextTokenizer,
    steps: StepEnds,
    prompt: str,
    solution: str,
    world: World | Observer | None = None,
    right: bool | None = None,
) -> StepTree:
    """A demonstration: a tree without branches, whose every step is to be learned.

    right: what every step of it is worth to the value head; None: nothing is said of that.

    Raises:
      UserError: the solution is not what `world` would answer.
    """
    columns = Column(IMITATED), Column(OBSERVED), *(() if right is None else Value.columns)
    builder = StepTreeBuilder(tokenizer.encode_prompt(prompt), columns)
    if world is None:
        text, observed = (*tokenizer.encode(solution), tokenizer.ids.eos), None
    else:
        text, observed = replayed(world, tokenizer, steps, prompt, solution)
    path = builder.add_text(0, text, steps, observed)
    builder.give(path, IMITATED, 1.0)
    if right is not None:
        builder.give([0, *path], "value.target", float(right))
        builder.give([0, *path], "value.weight", 1.0)
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
        observer: Observer | None = None,
    ):
        """observer: who asks the task's world, if it has one. None: this process does.

        Raises UserError naming a demonstration that is damaged or that the tokenizer cannot
        write.
        """
        self._task, self._tokenizer, self._steps, self._problems = task, tokenizer, steps, problems
        self._room, self._cut = room, cut
        self._world = observer or getattr(task, "world", None)
        self._hindsight, self._values = config.hindsight, config.value_targets
        if config.hindsight and not hasattr(task, "relabel"):
            raise UserError(
                "warm_start.hindsight: this task cannot tell which problem a text solves; set 0"
            )
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
        _, prompt, solution, right = self._demonstration(number, rng)
        tree = path_tree(self._tokenizer, self._steps, prompt, solution, self._world, right)
        if self._room.holds(tree.size, len(tree.length)):
            return tree
        return self._room.beginning(tree) if self._cut else None

    def _demonstration(self, number: int, rng: np.random.Generator) -> Demonstration:
        if self._read:
            return self._read[number]
        problem = self._problems[number]
        solution = self._task.demonstration(problem, rng)
        if self._hindsight and rng.random() < self._hindsight:
            problem, solution = self._task.relabel(problem, solution) or (problem, solution)
        right = self._task.verdict(problem, solution) if self._values else None
        return Demonstration(problem.name, problem.prompt, solution, right)

    def _overlong(self, demonstration: Demonstration) -> Overlong | None:
        name, prompt, solution, _ = demonstration
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
