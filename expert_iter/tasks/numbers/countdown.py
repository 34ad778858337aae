"""Countdown: combine all the numbers into the target, with integers only."""

import dataclasses

import numpy as np

from expert_iter.errors import UserError
from expert_iter.range_checks import Checks
from expert_iter.tasks.numbers.arithmetic import Goal
from expert_iter.tasks.numbers.generate import distinct, hash_of, random_goals
from expert_iter.tasks.numbers.number_game import (
    MOST_NUMBERS,
    MOST_VALUE,
    NETWORK,
    WORLD,
    NumberGame,
)
from expert_iter.tasks.task import SPLITS

# Random plays from which problems are picked. The number is fixed, so that a larger training set
# does not change the held-out problems; only one that could exhaust the plays adds more.
_PLAYS = 1 << 18
_PLAYS_PER_PROBLEM = 8


@dataclasses.dataclass(frozen=True)
class CountdownConfig:
    """The problems of Countdown.

    Attributes:
      seed: of the sampled problems. Which multisets of numbers are held out does not depend on it.
      numbers: how many numbers a problem has.
      smallest, largest: range of the numbers, ends included.
      min_target, max_target: range of the targets, ends included.
      max_value: largest number in random play, and largest number in the vocabulary.
      train_size: training problems; if there are fewer, all of them.
      validation_size, test_size: held-out problems.
      problems_file: JSONL or CSV of problems to use instead of sampled ones, split by their numbers
        in the same way. The three sizes are then upper limits.
      data_dir: directory of a TFDS dataset with the problems, built there at first use.
      rules: who computes results, the 'network', or the 'world', which also ends an illegal step.
    """

    seed: int = 0
    numbers: int = 3
    smallest: int = 1
    largest: int = 20
    min_target: int = 1
    max_target: int = 100
    max_value: int = 100
    train_size: int = 20_000
    validation_size: int = 512
    test_size: int = 512
    problems_file: str = ""
    data_dir: str = ""
    rules: str = NETWORK

    def __post_init__(self):
        check = Checks("task", self)
        check.one_of("rules", NETWORK, WORLD)
        check.between(0, 2**32 - 1, "seed")
        check.between(2, MOST_NUMBERS, "numbers")
        check.between(1, MOST_VALUE, "max_value")
        check.between(1, self.max_value, "largest")
        check.between(0, self.largest, "smallest")
        check.between(0, self.max_value, "max_target")
        check.between(0, self.max_target, "min_target")
        check.between(1, 1_000_000, "train_size", "validation_size", "test_size")


class Countdown(NumberGame):
    """Random problems. Each is solvable, for a random legal play produced its target.

    Splits share no multiset of numbers. Within a split, no two problems have the same numbers and
    target. All splits have the same distribution, so held-out problems are as hard as training
    problems.
    """

    name = "countdown"

    def __init__(self, config: CountdownConfig):
        super().__init__(config, config.max_value, max_denominator=1)

    def make_goals(self) -> dict[str, list[Goal]]:
        config = self.config
        if config.problems_file:
            pool = [problem.answer for problem in self.read(config.problems_file)]
            fix = f"add problems with other numbers to {config.problems_file}"
        else:
            pool = self._sample()
            fix = "ask for fewer, or widen the range of numbers or of targets"
        goals = {split: [] for split in SPLITS}
        for goal in distinct(pool):
            goals[_split_of(goal.numbers)].append(goal)
        for split, found in goals.items():
            size = getattr(config, f"{split}_size")
            least = 1 if split == "train" or config.problems_file else size
            if len(found) < least:
                raise UserError(f"task.{split}_size={size}, but there are only {len(found)}: {fix}")
            del found[size:]
        return goals

    def _sample(self) -> list[Goal]:
        config = self.config
        return random_goals(
            np.random.default_rng(config.seed),
            plays=max(_PLAYS, _PLAYS_PER_PROBLEM * config.train_size),
            numbers=config.numbers,
            smallest=config.smallest,
            largest=config.largest,
            targets=(config.min_target, config.max_target),
            max_value=config.max_value,
        )


def _split_of(numbers: tuple[int, ...]) -> str:
    """The split of a multiset of numbers: 80% training, 10% validation, 10% test."""
    tenth = hash_of(numbers) % 10
    return "test" if tenth == 0 else "validation" if tenth == 1 else "train"
