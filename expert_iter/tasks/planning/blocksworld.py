"""The task `blocksworld`: move blocks until the towers are as asked."""

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from expert_iter.errors import UserError
from expert_iter.range_checks import Checks
from expert_iter.tasks.files import read_records
from expert_iter.tasks.planning import blocks
from expert_iter.tasks.planning.blocks import BLOCKS, Instance, Play
from expert_iter.tasks.planning.generate import random_instance, random_play, split_of
from expert_iter.tasks.planning.pddl import read_pddl
from expert_iter.tasks.planning.plan_length import plan_length
from expert_iter.tasks.task import SPLITS, Problem
from expert_iter.tasks.world import ILLEGAL, Observation

# Random instances from which problems are picked. The number is fixed, so that a larger training
# set does not change the held-out problems; only one that could exhaust them adds more.
_DRAWS = 1 << 16
_DRAWS_PER_PROBLEM = 4


@dataclasses.dataclass(frozen=True)
class BlocksworldConfig:
    """The problems of the blocks world.

    Attributes:
      seed: of the problems. In which split a problem is does not depend on it.
      blocks: how many blocks a generated problem has.
      min_plan_length, max_plan_length: range of the number of moves of a problem's shortest plan,
        ends included. It is always even.
      max_play_length: most moves of a demonstration, which is random play.
      train_size: training problems; if there are fewer, all of them.
      validation_size, test_size: held-out problems.
      problems_file: PlanBench's instances, JSON lines of `id` and `pddl`. They are the test, in
        place of generated problems, and are kept out of training and validation.
    """

    seed: int = 0
    blocks: int = 4
    min_plan_length: int = 2
    max_plan_length: int = 12
    max_play_length: int = 12
    train_size: int = 3000
    validation_size: int = 256
    test_size: int = 256
    problems_file: str = ""

    def __post_init__(self):
        check = Checks("task", self)
        check.between(0, 2**32 - 1, "seed")
        check.between(3, 8, "blocks")
        check.between(2, 100, "max_plan_length")
        check.between(2, self.max_plan_length, "min_plan_length")
        check.between(1, 100, "max_play_length")
        check.between(1, 1_000_000, "train_size", "validation_size", "test_size")


class PlanningWorld:
    """The world of the task: it answers a legal move with the state after it."""

    marks: tuple[str, ...] = ()

    def observe(self, prompt: str, text: str) -> Observation:
        """See `World`. OVER where the goal holds after the move."""
        start, goal = blocks.read_instance(prompt)
        *before, move = text.removesuffix("\n").split("\n")
        try:
            state = blocks.read_state(before[-1]) if before else start
        except ValueError:  # the line before is no answer of this world
            return Observation("", ILLEGAL)
        after = blocks.successors(state).get(move)
        return blocks.observation(after, goal) if after else Observation("", ILLEGAL)


class Blocksworld:
    """Plans in the blocks world, as searched for by RAP (Hao et al. 2023, arXiv 2305.14992).

    A generated problem is a random start and a random goal. No two are the same, in any split.
    """

    name = "blocksworld"
    in_process = True
    world = PlanningWorld()

    def __init__(self, config: BlocksworldConfig):
        self.config = config

    @functools.cached_property
    def _tested(self) -> list[Problem]:
        """Of `problems_file`."""
        return self.read(self.config.problems_file) if self.config.problems_file else []

    @functools.cached_property
    def _published(self) -> set[Instance]:
        return {problem.answer for problem in self._tested}

    @functools.cached_property
    def _problems(self) -> dict[str, list[Problem]]:
        published = self._tested
        sizes = {split: getattr(self.config, f"{split}_size") for split in SPLITS}
        if published:
            sizes["test"] = 0
        made = {
            split: [make_problem(instance, f"{split}-{i}") for i, instance in enumerate(found)]
            for split, found in self._made(sizes, self._published).items()
        }
        return {**made, "test": published or made["test"]}

    def _made(self, sizes: Mapping[str, int], excluded: set[Instance]) -> dict[str, list[Instance]]:
        config = self.config
        found: dict[str, dict[Instance, None]] = {split: {} for split in SPLITS}
        rng = np.random.default_rng(config.seed)
        for _ in range(max(_DRAWS, _DRAWS_PER_PROBLEM * config.train_size)):
            instance = random_instance(rng, config.blocks)
            split = split_of(instance)
            if len(found[split]) == sizes[split] or instance in excluded:
                continue
            if config.min_plan_length <= plan_length(*instance) <= config.max_plan_length:
                found[split][instance] = None
            if all(len(found[split]) == sizes[split] for split in SPLITS):
                break
        for split, size in sizes.items():
            if len(found[split]) < (1 if split == "train" else size):
                raise UserError(
                    f"task.{split}_size={size}, but there are only {len(found[split])}: ask for "
                    "fewer, for more blocks, or for a wider range of plan lengths"
                )
        return {split: list(instances) for split, instances in found.items()}

    def problems(self, split: str) -> Sequence[Problem]:
        if split not in SPLITS:
            raise UserError(f"split {split!r} is none of {', '.join(SPLITS)}")
        return self._problems[split]

    def read(self, path: str | os.PathLike) -> list[Problem]:
        """Reads records of `pddl`, the text of an instance, and optionally `id`."""
        name = Path(path).name

        def convert(record: Mapping[str, Any], line: int) -> Problem:
            if not isinstance(record.get("pddl"), str):
                raise ValueError("there is no `pddl`, the text of an instance")
            return make_problem(read_pddl(record["pddl"]), str(record.get("id", f"{name}:{line}")))

        return read_records(path, convert)

    def parse(self, text: str) -> Problem:
        """Parses `state a b | c goal c b`: towers from the bottom up."""
        try:
            return make_problem(blocks.read_instance(text), "typed")
        except ValueError as error:
            raise UserError(
                f"{text.strip()[:60]!r} is not a problem: {error}; write it like "
                "'state a b | c goal c b'"
            ) from None

    def example(self) -> str:
        return self.problems("test")[0].prompt.strip()

    def prepare(self) -> None:
        """Does nothing: the first verdict needs no slow work."""

    def verdict(self, problem: Problem, solution: str) -> bool:
        """Whether moves are legal, states are the world's, and the goal holds at the end."""
        played = _follow(problem.answer, solution)
        return played is not None and played.solved

    def is_legal(self, problem: Problem, solution: str) -> bool:
        return _follow(problem.answer, solution) is not None

    def answer(self, question_prompt: str, solution: str) -> str | None:
        """The moves of a legal plan."""
        instance = self.parse(question_prompt).answer
        return ", ".join(_moves(solution)) if _follow(instance, solution) else None

    def demonstration(self, problem: Problem, rng: np.random.Generator) -> str:
        """Random legal play, which shows rules and format and rarely reaches the goal."""
        return random_play(problem.answer, rng, self.config.max_play_length)

    def relabel(self, problem: Problem, solution: str) -> tuple[Problem, str] | None:
        """The problem whose goal is the last state of the plan with an empty hand that holds a goal
        for the first time, and the plan up to there.
        """
        instance, moves = problem.answer, _moves(solution)
        states = [instance.start]
        for move in moves:
            states.append(blocks.successors(states[-1]).get(move))
            if states[-1] is None:
                return None
        for number in range(len(moves), 0, -1):
            goal = tuple(tower for tower in states[number].towers if len(tower) > 1)
            before = any(blocks.goal_holds(state, goal) for state in states[:number])
            if states[number].holding or before:
                continue
            made = Instance(instance.start, goal)
            if split_of(made) != "train" or made in self._published:
                return None
            return make_problem(made, problem.id), blocks.play(made, moves[:number]).text
        return None

    def symbols(self) -> list[str]:
        """One piece for each word, with the space before it."""
        words = ["state", "pick up", "put down", "stack", "unstack"]  # at the begin of a line
        return [*words, *(f" {word}" for word in (*BLOCKS, "|", "holding", "goal", "on", "from"))]

    def sample_texts(self, n: int, seed: int) -> list[str]:
        rng = np.random.default_rng(seed)
        problems = self.problems("train")
        chosen = (problems[i] for i in rng.integers(len(problems), size=n))
        return [problem.prompt + self.demonstration(problem, rng) for problem in chosen]


def make_problem(instance: Instance, id: str) -> Problem:
    return Problem(id, blocks.prompt(instance), instance)


def _moves(solution: str) -> list[str]:
    return solution.removesuffix("\n").split("\n")[::2]


def _follow(instance: Instance, solution: str) -> Play | None:
    """The play of a solution's moves; None if its text is not the play's."""
    played = blocks.play(instance, _moves(solution))
    return played if played and played.text == solution else None
