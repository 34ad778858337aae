"""The Game of 24: combine four numbers from 1 to 13 into 24; fractions are allowed."""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from expert_iter.errors import UserError
from expert_iter.range_checks import Checks
from expert_iter.tasks.files import read_records
from expert_iter.tasks.numbers.arithmetic import Goal
from expert_iter.tasks.numbers.generate import distinct, hash_of, random_goals
from expert_iter.tasks.numbers.number_game import (
    MOST_VALUE,
    NETWORK,
    WORLD,
    NumberGame,
    make_goal,
    whole_number,
)

TARGET = 24
LARGEST = 13
_HELD_OUT = 100  # puzzles in the test, and in validation; as many as _TEST_RANKS
# Ranks in the public list that Yao et al. 2023 (Tree of Thoughts, arXiv 2305.10601) test on.
_TEST_RANKS = range(901, 1001)
_PLAYS = 1 << 18  # random plays from which the curriculum is picked


@dataclasses.dataclass(frozen=True)
class Game24Config:
    """The puzzles of the Game of 24.

    Attributes:
      seed: of the curriculum, and of the order of the numbers in training prompts.
      file: CSV with the columns `Rank` and `Puzzles`, or any file of problems with the target 24.
        Its ranks 901 to 1000 are the test; without them a hash of the numbers picks the test.
        Empty: all 1,362 solvable puzzles, and the hash picks the test.
      exclude: file of puzzles to keep out of training and validation, in any order.
      fractions: whether random play uses fractions.
      max_value: largest numerator or denominator in random play, and largest number in the
        vocabulary. Every puzzle remains solvable from 169 on.
      max_denominator: largest denominator in random play. Every puzzle remains solvable from 13 on.
      train_targets: 'game' trains on puzzles only. 'any' adds a curriculum of integer problems from
        random play: half on three numbers (or as many as exist), the rest on four. It never uses
        the numbers of a puzzle that is not in training.
      train_size: training problems with 'any'. With 'game' there are as many as puzzles.
      curriculum_share: fraction of curriculum problems in training, in [0, 1]. The rest are
        puzzles, repeated with their numbers in different orders.
      max_target: largest target in the curriculum; the smallest is 1.
      data_dir: directory of a TFDS dataset with the problems, built there at first use.
      rules: who computes results, the 'network', or the 'world', which also ends an illegal step.
    """

    seed: int = 0
    file: str = ""
    exclude: str = ""
    fractions: bool = True
    max_value: int = 169
    max_denominator: int = 13
    train_targets: str = "game"
    train_size: int = 20_000
    curriculum_share: float = 0.75
    max_target: int = 100
    data_dir: str = ""
    rules: str = NETWORK

    def __post_init__(self):
        check = Checks("task", self)
        check.one_of("rules", NETWORK, WORLD)
        check.between(0, 2**32 - 1, "seed")
        check.between(TARGET, MOST_VALUE, "max_value")
        check.between(1, self.max_value, "max_denominator", "max_target")
        check.between(1, 1_000_000, "train_size")
        check.share("curriculum_share")
        check.one_of("train_targets", "game", "any")


class Game24(NumberGame):
    """Puzzles of the public list, or all solvable ones. Splits share no multiset of numbers."""

    name = "game24"
    default_target = TARGET

    def __init__(self, config: Game24Config):
        super().__init__(
            config, config.max_value, config.max_denominator if config.fractions else 1
        )

    def goal_of(self, record: Mapping[str, Any]) -> Goal:
        if "Puzzles" in record:
            return make_goal(record["Puzzles"], TARGET)
        return super().goal_of(record)

    def make_goals(self) -> dict[str, list[Goal]]:
        config = self.config
        test, rest = self._test_and_rest()
        held_out = min(_HELD_OUT, len(rest) // 4)
        validation = sorted(rest, key=lambda goal: hash_of(goal.numbers))[:held_out]
        kept_out = {_key(goal) for goal in test}
        if config.exclude:
            kept_out |= {_key(problem.answer) for problem in self.read(config.exclude)}
        validation = [goal for goal in validation if _key(goal) not in kept_out]
        kept_out |= {_key(goal) for goal in validation}
        train = [goal for goal in rest if _key(goal) not in kept_out]
        if not (train and validation and test):
            raise UserError(
                f"{len(train)} training, {len(validation)} validation and {len(test)} test puzzles "
                "are left: give a longer task.file or a shorter task.exclude"
            )
        rng = np.random.default_rng(config.seed)
        if config.train_targets == "any":
            train = self._with_curriculum(train, kept_out, rng)
        else:
            train = [_reordered(goal, rng) for goal in train]
        return {"train": train, "validation": validation, "test": test}

    def _test_and_rest(self) -> tuple[list[Goal], list[Goal]]:
        if self.config.file:
            ranked = read_records(self.config.file, self._ranked_puzzle)
        else:
            ranked = [(Goal(numbers, TARGET), None) for numbers in solvable_puzzles()]
        puzzles = distinct(goal for goal, _ in ranked)
        test_keys = {_key(goal) for goal, rank in ranked if rank in _TEST_RANKS}
        if not test_keys:
            by_hash = sorted(map(_key, puzzles), key=lambda key: -hash_of(key))
            test_keys = set(by_hash[: min(_HELD_OUT, len(puzzles) // 4)])
        test = [goal for goal in puzzles if _key(goal) in test_keys]
        return test, [goal for goal in puzzles if _key(goal) not in test_keys]

    def _ranked_puzzle(self, record: Mapping[str, Any], line: int) -> tuple[Goal, int | None]:
        goal = self.goal_of(record)
        in_range = all(1 <= number <= LARGEST for number in goal.numbers)
        if len(goal.numbers) != 4 or goal.target != TARGET or not in_range:
            raise ValueError(f"not a puzzle of four numbers from 1 to {LARGEST} for {TARGET}")
        rank = record.get("Rank")
        return goal, None if rank is None else whole_number(rank)

    def _with_curriculum(
        self, puzzles: list[Goal], kept_out: set[tuple[int, ...]], rng: np.random.Generator
    ) -> list[Goal]:
        config = self.config
        # A puzzle that the file leaves out may be a test puzzle elsewhere, so it is excluded too.
        excluded = kept_out | set(solvable_puzzles()) - set(map(_key, puzzles))
        size = round(config.train_size * config.curriculum_share)
        goals = []
        for n, up_to in ((3, size // 2), (4, size)):
            made = random_goals(
                rng, _PLAYS, n, 1, LARGEST, (1, config.max_target), config.max_value
            )
            allowed = [goal for goal in made if _key(goal) not in excluded]
            goals += allowed[: up_to - len(goals)]
        repeated = itertools.islice(itertools.cycle(puzzles), config.train_size - size)
        goals += [_reordered(goal, rng) for goal in repeated]
        return [goals[i] for i in rng.permutation(len(goals))]


def _key(goal: Goal) -> tuple[int, ...]:
    return tuple(sorted(goal.numbers))


def _reordered(goal: Goal, rng: np.random.Generator) -> Goal:
    """Shuffles the numbers, so that the network does not expect sorted ones."""
    return goal._replace(numbers=tuple(rng.permutation(goal.numbers).tolist()))


def solvable_puzzles() -> list[tuple[int, ...]]:
    """The 1,362 multisets of four numbers from 1 to 13 that make 24, in sorted order."""
    multisets = list(itertools.combinations_with_replacement(range(1, LARGEST + 1), 4))
    tops_MxN = np.array(multisets, np.int64)
    solvable = _makes_target(tops_MxN, np.ones_like(tops_MxN))
    return [
        numbers for numbers, is_solvable in zip(multisets, solvable, strict=True) if is_solvable
    ]


def _makes_target(tops_MxN: np.ndarray, bottoms_MxN: np.ndarray) -> np.ndarray:
    """Whether each row of N fractions can be combined into 24.

    This is exact: fractions are not reduced, and those of four numbers up to 13 fit in 64 bits. A
    division by zero gives a denominator of 0, which no later operation removes.

    Args:
      tops_MxN: [M, N] int64. Numerators.
      bottoms_MxN: [M, N] int64. Denominators.

    Returns:
      [M] bool.
    """
    n = tops_MxN.shape[1]
    if n == 1:
        return ((bottoms_MxN != 0) & (tops_MxN == TARGET * bottoms_MxN))[:, 0]
    found = np.zeros(len(tops_MxN), bool)
    for i, j in itertools.combinations(range(n), 2):
        others = [k for k in range(n) if k not in (i, j)]
        a, b = tops_MxN[:, i], bottoms_MxN[:, i]
        c, d = tops_MxN[:, j], bottoms_MxN[:, j]
        for top, bottom in (
            (a * d + c * b, b * d),
            (a * d - c * b, b * d),
            (c * b - a * d, b * d),
            (a * c, b * d),
            (a * d, b * c),
            (c * b, d * a),
        ):
            found |= _makes_target(
                np.column_stack([tops_MxN[:, others], top]),
                np.column_stack([bottoms_MxN[:, others], bottom]),
            )
    return found
