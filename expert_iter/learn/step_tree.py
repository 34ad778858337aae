"""The unit of learning: a tree of steps, with what is to be learned at each of them.

Node 0 is the prompt; every other node is one step (a line, end mark included) after its parent. A
demonstration is a tree without branches; guesses at one problem are a tree that forks at their
first difference; a searched tree is itself. Each distinct prefix is stored, and later computed,
once.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from expert_iter.model.step_ends import StepEnds


@dataclass(frozen=True)
class StepTree:
    """G steps of T tokens together.

    token `[T]`: the steps' tokens one after the other, parents before children; length `[G]`:
    tokens of each step; parent `[G]`: −1 for the prompt. policy_weight `[G]`: weight of −log
    π(step); value_target, value_weight `[G]`: for the value at the step's end. correction `[G]`:
    what to add to log π(step) to get its prior logit among its siblings (log c − log β, or −log q);
    in_set `[G]`: whether the step takes part in its siblings' softmax (for the set-normalised
    policy loss).
    """

    token: np.ndarray
    length: np.ndarray
    parent: np.ndarray
    policy_weight: np.ndarray
    value_target: np.ndarray
    value_weight: np.ndarray
    correction: np.ndarray
    in_set: np.ndarray

    @property
    def size(self) -> int:
        return len(self.token)

    @property
    def teaches(self) -> bool:
        """Whether there is anything to be learned from it."""
        return bool(self.policy_weight.any() or self.value_weight.any())


def flat(trees: Sequence[StepTree]) -> dict[str, np.ndarray]:
    """Trees as a few arrays, to be stored or sent; `parted` is the inverse."""
    fields = [field.name for field in dataclasses.fields(StepTree)]
    return {
        "tokens": np.array([tree.size for tree in trees], np.int32),
        "steps": np.array([len(tree.length) for tree in trees], np.int32),
        **{
            name: np.concatenate([np.asarray(getattr(tree, name)) for tree in trees])
            if trees
            else np.zeros(0)
            for name in fields
        },
    }


def parted(arrays: dict[str, np.ndarray]) -> list[StepTree]:
    """The trees that `flat` made arrays of."""
    if not len(arrays["steps"]):
        return []
    at_token, at_step = np.cumsum(arrays["tokens"])[:-1], np.cumsum(arrays["steps"])[:-1]
    parts = [
        np.split(arrays[field.name], at_token if field.name == "token" else at_step)
        for field in dataclasses.fields(StepTree)
    ]
    return [StepTree(*fields) for fields in zip(*parts, strict=True)]


class StepTreeBuilder:
    """Grows a `StepTree`; a step that its parent already has is not added twice."""

    def __init__(self, prompt: list[int]):
        self._steps = [tuple(prompt)]
        self._parent = [-1]
        self._index: dict[tuple, int] = {}
        # policy_weight, value_target, value_weight, correction, in_set of each step
        self._facts = [[0.0, 0.0, 0.0, 0.0, 0.0]]

    def add(self, parent: int, step: tuple[int, ...]) -> int:
        key = (parent, step)
        if key not in self._index:
            self._index[key] = len(self._steps)
            self._steps.append(step)
            self._parent.append(parent)
            self._facts.append([0.0, 0.0, 0.0, 0.0, 0.0])
        return self._index[key]

    def add_text(self, parent: int, tokens: tuple[int, ...], steps: StepEnds) -> list[int]:
        """Adds a text of several steps; returns their numbers."""
        path = []
        for step in steps.split(tokens):
            parent = self.add(parent, step)
            path.append(parent)
        return path

    def learn_policy(self, step: int, weight: float) -> None:
        """Adds to the step's weight: what two solutions share is learned from both."""
        self._facts[step][0] += weight

    def learn_value(self, step: int, target: float, weight: float = 1.0) -> None:
        """Sets the step's value target; of several, the best holds (a prefix is worth its best
        continuation).
        """
        facts = self._facts[step]
        facts[1] = max(facts[1], target) if facts[2] else target
        facts[2] = weight

    def compare(self, step: int, correction: float) -> None:
        """Lets the step take part in its siblings' softmax."""
        self._facts[step][3:] = [correction, 1.0]

    def build(self) -> StepTree:
        facts = np.array(self._facts, np.float32).T
        return StepTree(
            token=np.array([token for step in self._steps for token in step], np.int32),
            length=np.array([len(step) for step in self._steps], np.int32),
            parent=np.array(self._parent, np.int32),
            policy_weight=facts[0],
            value_target=facts[1],
            value_weight=facts[2],
            correction=facts[3],
            in_set=facts[4] > 0,
        )
