"""The bridge from a search on the device to the task's verifier on the host. Self-play has one;
evaluation has none.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from expert_iter.model.tokenizers.tokenizer import TextTokenizer
from expert_iter.tasks.task import Problem
from expert_iter.tasks.verifier.pool import Verifier


class HostVerifier:
    """Verdicts inside a jitted search, by a callback that sends what has just been written and
    asks about what is finished.

    The compiled search knows a problem by its number in `problems`, which may be changed between
    searches.
    """

    def __init__(self, verifier: Verifier, tokenizer: TextTokenizer, cut_along: str = ""):
        """cut_along: a mesh axis along which the search's parameters are cut, but not its rows."""
        self.verifier, self.tokenizer, self._cut_along = verifier, tokenizer, cut_along
        self.problems: Sequence[Problem] = ()

    def __call__(self, problem_B, prefix_BxDxL, step_BxKxL, finished_BxK):
        # Token ids travel as they are; 16 bits would halve the bytes but cost two conversions.
        shape = jax.ShapeDtypeStruct(finished_BxK.shape, jnp.bool_)
        ask = functools.partial(jax.pure_callback, self._ask, shape)
        if self._cut_along:  # JAX has no callbacks where some axes of the mesh are left to XLA
            whole, axes = PartitionSpec(), {self._cut_along}
            ask = jax.shard_map(
                ask, in_specs=whole, out_specs=whole, axis_names=axes, check_vma=False
            )
        return ask(problem_B, prefix_BxDxL, step_BxKxL, finished_BxK)

    def _ask(self, problem_B, prefix_BxDxL, step_BxKxL, finished_BxK):
        problem_B, prefix, step = (
            np.asarray(problem_B),
            np.asarray(prefix_BxDxL),
            np.asarray(step_BxKxL),
        )
        verdict = np.zeros(finished_BxK.shape, bool)
        pad = self.tokenizer.ids.pad
        before, asked, texts = {}, np.nonzero(np.asarray(finished_BxK)), []
        for b, k in zip(*asked, strict=True):
            if b not in before:
                before[b] = [t for t in prefix[b].ravel().tolist() if t != pad]
            tokens = before[b] + [t for t in step[b, k].tolist() if t != pad]
            texts.append(self.tokenizer.decode(tokens))
        problems = [self.problems[problem_B[b]] for b in asked[0]]
        verdict[asked] = self.verifier.verify(problems, texts)
        return verdict
