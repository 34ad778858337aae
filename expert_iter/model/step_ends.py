"""Where a step ends, in tokens: also where a newline shares a token with other characters."""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from expert_iter.model.tokenizers.tokenizer import TextTokenizer

# What a step ends with: a newline, or an empty line (two newlines with nothing between them).
MARKS = {"line": "\n", "paragraph": "\n\n"}
NO_TOKEN = -1  # "the token before" the first token of a step


class StepEnds:
    """A step ends at the first token that completes the mark of `mode`.

    The token may go on after the mark (`"\\n\\nSo"`): a step is whole tokens. A step may hold
    nothing but the mark, or blanks. What a world answers to a step belongs to it.

    answered: whether a world answers steps.
    """

    def __init__(
        self,
        tokenizer: TextTokenizer,
        mode: str,
        vocab_size: int = 0,
        world_marks: Sequence[str] | None = None,
    ):
        """mode: one of `MARKS`; vocab_size: of the network, where it is padded to more tokens than
        the tokenizer has (they end nothing); world_marks: where steps end as well, if a world
        answers them.
        """
        if mode not in MARKS:
            raise ValueError(f"a step ends at one of {', '.join(MARKS)}, not at {mode!r}")
        size = tokenizer.vocab_size
        texts = [tokenizer.token_text(i) for i in range(size)] + [""] * (vocab_size - size)
        self.mode, self.ids = mode, tokenizer.ids
        # Tokens that are never written, those that only pad the network's vocabulary among them.
        self.never = (*tokenizer.ids.never, *range(size, vocab_size))
        self.answered = world_marks is not None
        marks = MARKS[mode], *(world_marks or ())
        self._holds = np.array([any(mark in text for mark in marks) for text in texts])
        # Whether the mark's first, second half ends, begins the token.
        self._ends = np.array([text.endswith("\n") for text in texts])
        self._begins = np.array([text.startswith("\n") for text in texts])

    def ended(self, before, token):
        """Whether a step ends with `token` (integers of any shape), elementwise.

        before: the token before it in the same step, or NO_TOKEN if it is the step's first. Give
        numpy arrays for a numpy array, jax arrays (traced ones too) for a jax array.
        """
        xp = jnp if isinstance(before, jax.Array) or isinstance(token, jax.Array) else np
        holds = xp.asarray(self._holds)[token]
        if self.mode == "line":
            return holds
        joined = xp.asarray(self._ends)[before] & xp.asarray(self._begins)[token]
        return holds | (joined & (before != NO_TOKEN))

    def split(
        self, tokens: Sequence[int], observed: Sequence[bool] | None = None
    ) -> list[tuple[int, ...]]:
        """The steps of a text: together they are `tokens`. What comes after the last mark, the
        text's end among it, is the last step.

        observed: which tokens a world wrote; a step ends behind what was answered to it.
        """
        steps, step = [], []
        heard = [False] * (len(tokens) + 1) if observed is None else [*observed, False]
        for token, (is_heard, next_is_heard) in zip(
            map(int, tokens), itertools.pairwise(heard), strict=True
        ):
            before = step[-1] if step else NO_TOKEN
            step.append(token)
            if not next_is_heard and (is_heard or self.ended(before, token)):
                steps.append(tuple(step))
                step = []
        return [*steps, tuple(step)] if step else steps
