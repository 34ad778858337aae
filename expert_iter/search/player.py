"""Puts questions to an expert: pads and batches them, runs the one compiled search, brings the
trees to the host.
"""

import zlib
from collections.abc import Sequence

import jax
import numpy as np

from expert_iter.model.tokenizer import TextTokenizer
from expert_iter.search.tree import SearchTree
from expert_iter.tasks.task import Question

SHORT = 32  # tokens; prompts up to here are padded to a multiple of 4


class Player:
    """One expert at one batch size. `expert` has `run(params, tokens, lengths, numbers, keys,
    budget) -> SearchTree`.
    """

    def __init__(self, expert, tokenizer: TextTokenizer, batch_size: int):
        self.tokenizer, self.batch_size = tokenizer, batch_size
        self._run = jax.jit(expert.run)

    def play(self, params, questions: Sequence[Question], key, budget: int) -> SearchTree:
        """Searches at most `batch_size` questions; the arrays of the result are on the host, one
        row a question.

        A question's tree depends on the parameters, the key, the budget and its own id, not on its
        neighbours.
        """
        prompts = [self.tokenizer.encode_prompt(question.prompt) for question in questions]
        longest = max(map(len, prompts))
        tokens = np.full(
            (self.batch_size, padded_length(longest)),
            self.tokenizer.pad_id,
            np.int32,
        )
        tokens[:, 0] = prompts[0][0]  # rows past the questions must read something
        lengths = np.ones(self.batch_size, np.int32)
        for row, prompt in enumerate(prompts):
            tokens[row, : len(prompt)], lengths[row] = prompt, len(prompt)
        ids = np.zeros(self.batch_size, np.uint32)
        ids[: len(questions)] = [zlib.crc32(question.id.encode()) for question in questions]
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(ids)
        # Rows past the questions repeat the first problem's number: the judge must know all it is
        # asked about.
        numbers = np.where(
            np.arange(self.batch_size) < len(questions), np.arange(self.batch_size), 0
        )
        tree = jax.device_get(self._run(params, tokens, lengths, numbers, keys, budget))
        return jax.tree.map(lambda x: x[: len(questions)], tree)


def padded_length(length: int) -> int:
    """What prompts are padded to, so that few lengths are compiled: multiples of 4, and above
    `SHORT` 48, 64, 96, 128, 192 and so on.
    """
    if length <= SHORT:
        return -(-length // 4) * 4
    size = SHORT
    while size < length:
        power_of_two = size & (size - 1) == 0
        size = size * 3 // 2 if power_of_two else size * 4 // 3
    return size
