"""Packs step trees into rows of fixed length, several a row, each attending to its own ancestors
only.

Shape suffixes: R rows, T tokens a row, G steps a row.
"""

from collections.abc import Container, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from expert_iter.learn.step_tree import Column, StepTree


class Batch(NamedTuple):
    """What the loss needs; host arrays until the update.

    Attributes:
      token_RxT: int32.
      position_RxT: int32. The token's place in its own text.
      before_RxT: int32. Index of the token that predicts it; its own where nothing does, as at a
        prompt's start.
      step_RxT: int32. The step that it belongs to; −1 is padding.
      ancestor_RxGxG: bool. [g, h] is true where step h is g or comes before it on its path.
      end_RxG: int32. Index of the step's last token.
      parent_RxG: int32. The step before it; −1 where there is none.
      columns: [R, G] each, by name. As in `StepTree`; 0 where there is no step.
    """

    token_RxT: np.ndarray
    position_RxT: np.ndarray
    before_RxT: np.ndarray
    step_RxT: np.ndarray
    ancestor_RxGxG: np.ndarray
    end_RxG: np.ndarray
    parent_RxG: np.ndarray
    columns: dict[str, np.ndarray]

    @property
    def siblings_RxGxG(self):
        """[R, G, G] bool. Steps after the same step; each is its own sibling."""
        return self.parent_RxG[:, :, None] == self.parent_RxG[:, None, :]


class Packer:
    """Fills rows first-fit, in the order given. Trees larger than a row do not fit: see
    `splitting`.
    """

    def __init__(self, rows: int, row_tokens: int, row_steps: int, columns: Sequence[Column]):
        self.rows, self.row_tokens, self.row_steps = rows, row_tokens, row_steps
        self.columns = columns

    def pack(
        self, trees: Iterable[StepTree], held: Container[int] | None = None
    ) -> tuple[Batch, list[int]]:
        """Places each tree where it finds room, and skips it where it does not; returns the batch
        and who is in it.

        held: the rows to fill; what goes to others is left out (None: all).
        """
        R, T, G = self.rows, self.row_tokens, self.row_steps
        batch = Batch(
            token_RxT=np.zeros((R, T), np.int32),
            position_RxT=np.zeros((R, T), np.int32),
            before_RxT=np.tile(np.arange(T, dtype=np.int32), (R, 1)),
            step_RxT=np.full((R, T), -1, np.int32),
            ancestor_RxGxG=np.zeros((R, G, G), bool),
            end_RxG=np.zeros((R, G), np.int32),
            parent_RxG=np.full((R, G), -1, np.int32),
            columns={column.name: np.zeros((R, G), column.dtype) for column in self.columns},
        )
        used_tokens, used_steps = np.zeros(R, int), np.zeros(R, int)
        taken = []
        for number, tree in enumerate(trees):
            room = (used_tokens + tree.size <= T) & (used_steps + len(tree.length) <= G)
            if room.any():
                row = int(room.argmax())
                if held is None or row in held:
                    self._place(batch, row, used_tokens[row], used_steps[row], tree)
                used_tokens[row] += tree.size
                used_steps[row] += len(tree.length)
                taken.append(number)
        return batch, taken

    @staticmethod
    def _place(batch: Batch, row: int, t: int, g: int, tree: StepTree) -> None:
        """Writes the tree into a row, its tokens from place `t` on and its steps from `g` on."""
        G = len(tree.length)
        start = np.cumsum(tree.length) - tree.length
        end = start + tree.length - 1
        depth = np.zeros(G, np.int64)  # place of the step's first token in its own text
        ancestor = np.eye(G, dtype=bool)
        for i, parent in enumerate(tree.parent[1:], start=1):
            depth[i] = depth[parent] + tree.length[parent]
            ancestor[i] |= ancestor[parent]
        number = np.arange(tree.size)
        step = np.repeat(np.arange(G), tree.length)
        before = number - 1
        before[start] = np.where(tree.parent >= 0, end[tree.parent], 0)
        tokens, steps = slice(t, t + tree.size), slice(g, g + G)
        batch.token_RxT[row, tokens] = tree.token
        batch.position_RxT[row, tokens] = depth[step] + number - start[step]
        batch.before_RxT[row, tokens] = before + t
        batch.step_RxT[row, tokens] = step + g
        batch.ancestor_RxGxG[row, steps, steps] = ancestor
        batch.end_RxG[row, steps] = end + t
        batch.parent_RxG[row, steps] = np.where(tree.parent >= 0, tree.parent + g, -1)
        for name, values in tree.columns.items():
            if name in batch.columns:
                batch.columns[name][row, steps] = values
