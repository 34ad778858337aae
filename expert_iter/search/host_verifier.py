"""Verdicts of the task's verifier on what a search has written. Self-play asks for them;
evaluation cannot.
"""

from collections.abc import Sequence

import numpy as np

from expert_iter.model.tokenizers.tokenizer import TextTokenizer
from expert_iter.search.expansion import Texts
from expert_iter.tasks.task import Problem
from expert_iter.tasks.verifier.pool import Verifier


class HostVerifier:
    """Asks about texts of tokens.

    A search knows a problem by its number in `problems`, which may be changed between searches.
    """

    def __init__(self, verifier: Verifier, tokenizer: TextTokenizer):
        self.verifier, self.tokenizer = verifier, tokenizer
        self.problems: Sequence[Problem] = ()

    def verdicts(self, problem_B: np.ndarray, texts: Texts) -> np.ndarray:
        """[B, M] bool. Which of the finished texts are right; arrays are on the host."""
        verdict = np.zeros(texts.finished.shape, bool)
        pad = self.tokenizer.ids.pad
        before, asked, written = {}, np.nonzero(texts.finished), []
        for b, k in zip(*asked, strict=True):
            if b not in before:
                before[b] = [t for t in texts.prefix[b].ravel().tolist() if t != pad]
            written.append(before[b] + [t for t in texts.token[b, k].tolist() if t != pad])
        problems = [self.problems[problem_B[b]] for b in asked[0]]
        verdict[asked] = self.verifier.verify(problems, self.tokenizer.decode_all(written))
        return verdict
