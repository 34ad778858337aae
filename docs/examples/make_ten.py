"""A task and its config: make 10 from the four digits of a train ticket. See docs/tasks.md."""

import dataclasses
from itertools import combinations_with_replacement

from expert_iter.config import default_config
from expert_iter.tasks import TASKS
from expert_iter.tasks.numbers.arithmetic import Goal
from expert_iter.tasks.numbers.generate import hash_of
from expert_iter.tasks.numbers.number_game import NumberGame


@dataclasses.dataclass(frozen=True)
class MakeTenConfig:
    data_dir: str = ""  # config.task.data_dir, as in Countdown


class MakeTen(NumberGame):
    name, default_target = "make_ten", 10

    def __init__(self, config):
        super().__init__(config, max_value=100, max_denominator=1)

    def make_goals(self):
        goals = {"train": [], "validation": [], "test": []}
        for digits in combinations_with_replacement(range(1, 10), 4):
            split = {0: "test", 1: "validation"}.get(hash_of(digits) % 10, "train")
            goals[split].append(Goal(digits, 10))
        return goals


TASKS["make_ten"] = (MakeTen, MakeTenConfig)


def get_config():
    config = default_config("make_ten")
    config.search.max_steps = 3
    config.guess.max_tokens = 40
    return config
