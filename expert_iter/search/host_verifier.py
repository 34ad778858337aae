"""Verdicts of the task's verifier on what a search has written. Self-play asks for them;
evaluation cannot.
"""

from collections.abc import Callable, Sequence

import numpy as np

from expert_iter.model.tokenizers.tokenizer import TextTokenizer
from expert_iter.search.expansion import Texts
from expert_iter.tasks.task import Problem
from expert_iter.tasks.verifier.pool import Verifier


class HostVerifier:
    """Asks about texts of tokens."""

    def __init__(self, verifier: Verifier, tokenizer: TextTokenizer):
        self.verifier, self.tokenizer = verifier, tokenizer

    def ask(
        self, problems: Sequence[Problem], problem_B: np.ndarray, texts: Texts
    ) -> Callable[[], np.ndarray]:
        """Submits the texts that are asked about.

        Args:
          problems: of a batch.
          problem_B: [B] int. The rows' problems, by their numbers in `problems`.
          texts: on the host.

        Returns:
          A function that waits for the verdicts: [B, M] bool, True for the right ones.
        """
        pad = self.tokenizer.ids.pad
        before, asked, written = {}, np.nonzero(texts.asked), []
        for b, k in zip(*asked, strict=True):
            if b not in before:
                before[b] = [t for t in texts.prefix[b].ravel().tolist() if t != pad]
            written.append(before[b] + [t for t in texts.token[b, k].tolist() if t != pad])
        of_texts = [problems[problem_B[b]] for b in asked[0]]
        future = self.verifier.submit(of_texts, self.tokenizer.decode_all(written))

        def verdicts() -> np.ndarray:
            verdict = np.zeros(texts.asked.shape, bool)
            verdict[asked] = future.result()
            return verdict

        return verdicts
