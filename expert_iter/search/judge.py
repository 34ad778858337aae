"""The bridge from a search on the device to the task's verifier on the host. Self-play has one;
evaluation has none.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from expert_iter.model.tokenizer import Tokenizer
from expert_iter.tasks.task import Problem, Task


class HostJudge:
    """Verdicts inside a jitted search, by a callback that sends what has just been written and
    judges what is finished.

    The compiled search knows a problem by its number in `problems`, which may be changed between
    searches.
    """

    def __init__(self, task: Task, tokenizer: Tokenizer):
        self.task, self.tokenizer = task, tokenizer
        self.problems: Sequence[Problem] = ()

    def __call__(self, problem_B, prefix_BxDxL, step_BxKxL, finished_BxK):
        # Token ids travel as they are; 16 bits would halve the bytes but cost two conversions.
        shape = jax.ShapeDtypeStruct(finished_BxK.shape, jnp.bool_)
        return jax.pure_callback(
            self._judge, shape, problem_B, prefix_BxDxL, step_BxKxL, finished_BxK
        )

    def _judge(self, problem_B, prefix_BxDxL, step_BxKxL, finished_BxK):
        problem_B, prefix, step = (
            np.asarray(problem_B),
            np.asarray(prefix_BxDxL),
            np.asarray(step_BxKxL),
        )
        verdict = np.zeros(finished_BxK.shape, bool)
        pad, eos = self.tokenizer.ids.pad, self.tokenizer.ids.eos
        before = {}
        for b, k in zip(*np.nonzero(np.asarray(finished_BxK)), strict=True):
            if b not in before:
                before[b] = [t for t in prefix[b].ravel().tolist() if t != pad]
            tokens = before[b] + [t for t in step[b, k].tolist() if t != pad and t != eos]
            verdict[b, k] = self.task.verdict(
                self.problems[problem_B[b]], self.tokenizer.decode(tokens)
            )
        return verdict
