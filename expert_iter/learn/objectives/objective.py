"""What an objective is: what a finished search teaches, and the loss that learns it.

An objective is one file beside this one, a line in the table of `objectives/__init__.py`, and a
section of settings under its name. It gives each step of a searched tree some values, its columns.
Step trees, splitting, packing, replay and checkpoints carry columns without knowing their names;
the loss reads them from the batch.
"""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from expert_iter.learn.packing import Batch
from expert_iter.learn.step_tree import Column, StepTree
from expert_iter.range_checks import Checks
from expert_iter.search.self_play import Searched

# A figure of a batch: its sum over the steps, and the weight that it is divided by for people.
Figures = dict[str, tuple[jax.Array, jax.Array]]


@dataclasses.dataclass(frozen=True)
class ObjectiveConfig:
    """Settings that every objective has.

    Attributes:
      weight: of its loss in the sum of all.
    """

    weight: float = 1.0

    def check(self, section: str) -> Checks:
        check = Checks(section, self)
        check.not_negative("weight")
        return check


class Lessons(NamedTuple):
    """What an objective has to teach about B searched trees of N nodes with K candidates each.

    Attributes:
      taught: [B, N, K] bool. The candidates whose steps it needs, with those before them.
      columns: [B, N, K] each, by column. Values of those candidates, 0 where there is none.
      prompt: [B] each, by column. Values of the prompts.
      texts: texts made anew (a check, a second attempt), as trees of their own with columns, by
        row.
    """

    taught: np.ndarray
    columns: Mapping[str, np.ndarray]
    prompt: Mapping[str, np.ndarray] = {}
    texts: Mapping[int, Sequence[StepTree]] = {}


class Outputs(NamedTuple):
    """What the network says about the steps of a batch: R rows of G steps.

    Attributes:
      log_pi_RxG: float32. The step's log-probability given its path. Of a prompt it means nothing.
      heads: [R, G] float32 each, by name. A scalar head at the step's end; "value" in log-odds.
    """

    log_pi_RxG: jax.Array
    heads: Mapping[str, jax.Array]


class Objective(abc.ABC):
    """See the module. By itself it teaches nothing.

    Attributes:
      config: its section of the settings.
      columns: the values that it gives steps.
      heads: scalar heads on the trunk that it reads or trains, beside "value".
    """

    columns: tuple[Column, ...] = ()
    heads: tuple[str, ...] = ()

    def __init__(self, config: ObjectiveConfig):
        self.config = config

    def lessons(self, searched: Searched, rngs: Sequence[np.random.Generator]) -> Lessons:
        """On the host. rngs: one a problem."""
        return Lessons(np.zeros(searched.trees.won.shape, bool), {})

    @abc.abstractmethod
    def loss(self, outputs: Outputs, batch: Batch) -> tuple[jax.Array, Figures]:
        """On the device: the sum over the batch, which the caller divides by its rows."""
