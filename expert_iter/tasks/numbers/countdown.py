"""Countdown: reach the target with all of the numbers, in whole numbers, each used once."""

import dataclasses

import numpy as np

from expert_iter.errors import UserError
from expert_iter.tasks.numbers.arithmetic import Goal
from expert_iter.tasks.numbers.generate import distinct, hash_of, random_goals
from expert_iter.tasks.numbers.number_game import MOST_NUMBERS, MOST_VALUE, NumberGame
from expert_iter.tasks.task import SPLITS, check

# Random plays that problems are picked from. Fixed, so that a larger training set leaves the
# held-out problems as they are; only one that could exhaust the pool makes more plays.
_PLAYS = 1 << 18
_PLAYS_PER_PROBLEM = 8


@dataclasses.dataclass(frozen=True)
class CountdownConfig:
    """Which problems there are.

    Attributes:
      seed: of the problems that are drawn; which multisets are held out does not depend on it.
      numbers: how many numbers a problem has.
      smallest, largest: range of the numbers, ends included.
      min_target, max_target: range of the targets, ends included.
      max_value: no number on the way exceeds it in random play; the vocabulary reaches up to it.
      train_size: training problems; all that there are, if they are fewer.
      validation_size, test_size: held-out problems.
      problems_file: JSONL or CSV of problems to use instead of drawn ones, split by their numbers
        as those are; the three sizes are then upper limits.
      data_dir: folder of a TFDS dataset to take the problems from, built there at first use.
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

    def __post_init__(self):
        check("seed", self.seed, 0, 2**32 - 1)
        check("numbers", self.numbers, 2, MOST_NUMBERS)
        check("max_value", self.max_value, 1, MOST_VALUE)
        check("largest", self.largest, 1, self.max_value)
        check("smallest", self.smallest, 0, self.largest)
        check("max_target", self.max_target, 0, self.max_value)
        check("min_target", self.min_target, 0, self.max_target)
        for split in SPLITS:
            check(f"{split}_size", getattr(self, f"{split}_size"), 1, 1_000_000)


class Countdown(NumberGame):
    """Problems drawn from a seed, solvable by construction: a random legal play gives the target.

    The splits share no multiset of numbers; within one, no two problems have the same numbers and
    target. All three are drawn alike, so held-out problems are as hard as the training problems.
    """

    name = "countdown"

    def __init__(self, config: CountdownConfig):
        super().__init__(config, config.max_value, max_denominator=1)

    def make_goals(self) -> dict[str, list[Goal]]:
        config = self.config
        if config.problems_file:
            pool = [problem.answer for problem in self.read(config.problems_file)]
            mend = f"add problems with other numbers to {config.problems_file}"
        else:
            pool = self._draw()
            mend = "ask for fewer, or widen task.smallest to task.largest or the range of targets"
        goals = {split: [] for split in SPLITS}
        for goal in distinct(pool):
            goals[_split_of(goal.numbers)].append(goal)
        for split, found in goals.items():
            size = getattr(config, f"{split}_size")
            least = 1 if split == "train" or config.problems_file else size
            if len(found) < least:
                raise UserError(
                    f"task.{split}_size={size}, but there are only {len(found)}: {mend}"
                )
            del found[size:]
        return goals

    def _draw(self) -> list[Goal]:
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
    """Eight in ten multisets are for training, one for validation and one for the test."""
    tenth = hash_of(numbers) % 10
    return "test" if tenth == 0 else "validation" if tenth == 1 else "train"
