"""Replay: what past rounds found, in a window that grows more slowly than the data (KataGo, Wu
2019, appendix C).
"""

import dataclasses

import numpy as np

from expert_iter.errors import UserError
from expert_iter.learn.step_tree import StepTree

_PER_TOKEN = ("token",)
_PER_STEP = (
    "length",
    "parent",
    "policy_weight",
    "value_target",
    "value_weight",
    "correction",
    "in_set",
)


@dataclasses.dataclass(frozen=True)
class ReplayConfig:
    """The window holds min_trees · (1 + growth · ((total / min_trees)^exponent − 1) / exponent) of
    the newest trees, once there are more than min_trees of them; never more than max_trees.
    """

    min_trees: int = 4096
    growth: float = 0.4
    exponent: float = 0.75
    max_trees: int = 200_000

    def __post_init__(self):
        if not 1 <= self.min_trees <= self.max_trees:
            raise UserError(
                "replay.min_trees must be between 1 and replay.max_trees, got "
                f"{self.min_trees} and {self.max_trees}"
            )
        if self.growth < 0 or not 0 < self.exponent <= 1:
            raise UserError(
                "replay.growth must not be negative and replay.exponent must be in (0, 1], got "
                f"{self.growth} and {self.exponent}"
            )


class Replay:
    """The newest step trees, oldest first. `total` counts all that were ever added."""

    def __init__(self, config: ReplayConfig):
        self.config, self.trees, self.total = config, [], 0

    def window(self) -> int:
        c = self.config
        if self.total <= c.min_trees:
            return c.min_trees
        grown = c.min_trees * (
            1 + c.growth * ((self.total / c.min_trees) ** c.exponent - 1) / c.exponent
        )
        return min(int(grown), c.max_trees)

    def add(self, trees: list[StepTree]) -> None:
        self.trees += trees
        self.total += len(trees)
        self.trees = self.trees[-self.window() :]

    def arrays(self) -> dict[str, np.ndarray]:
        """The content as a few flat arrays, for a checkpoint."""
        return {
            "total": np.array(self.total),
            "steps": np.array([len(tree.length) for tree in self.trees], np.int32),
            "tokens": np.array([tree.size for tree in self.trees], np.int32),
            **{
                name: np.concatenate([np.asarray(getattr(tree, name)) for tree in self.trees])
                if self.trees
                else np.zeros(0)
                for name in _PER_TOKEN + _PER_STEP
            },
        }

    @classmethod
    def from_arrays(cls, config: ReplayConfig, arrays: dict[str, np.ndarray]) -> "Replay":
        replay = cls(config)
        replay.total = int(arrays["total"])
        if len(arrays["steps"]):
            at_token, at_step = np.cumsum(arrays["tokens"])[:-1], np.cumsum(arrays["steps"])[:-1]
            parts = {name: np.split(arrays[name], at_token) for name in _PER_TOKEN}
            parts |= {name: np.split(arrays[name], at_step) for name in _PER_STEP}
            replay.trees = [
                StepTree(*fields)
                for fields in zip(
                    *(parts[f.name] for f in dataclasses.fields(StepTree)), strict=True
                )
            ]
        return replay
