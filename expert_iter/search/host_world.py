"""A task's world, asked about steps of tokens."""

import logging
from collections.abc import Callable, Sequence

import numpy as np

from expert_iter.errors import UserError
from expert_iter.model.step_ends import StepEnds
from expert_iter.model.tokenizers.tokenizer import TextTokenizer
from expert_iter.search.drafts import Answers, NewSteps
from expert_iter.tasks.task import Question
from expert_iter.tasks.verifier.observer import Observer
from expert_iter.tasks.world import GOES_ON, ILLEGAL, OVER, Observation, World

_log = logging.getLogger(__name__)


class HostWorld:
    """Asks about the last steps of texts.

    max_tokens: of an observation; a longer one makes its step illegal, for it has no room. The
      first of them is logged.
    """

    def __init__(self, observer: Observer, tokenizer: TextTokenizer, max_tokens: int):
        self.observer, self.tokenizer, self._max_tokens = observer, tokenizer, max_tokens
        self._has_noted = False

    def ask(
        self, questions: Sequence[Question], problem_B: np.ndarray, steps: NewSteps
    ) -> Callable[[], Answers]:
        """Submits new steps.

        Args:
          questions: of a batch.
          problem_B: [B] int. The rows' questions, by their numbers.
          steps: on the host.

        Returns:
          A function that waits for the answers `[B, M]`, on the host.
        """
        pad, asked = self.tokenizer.ids.pad, np.nonzero(steps.asked)
        written = []
        for b, k in zip(*asked, strict=True):
            tokens = [*steps.prefix[b].ravel().tolist(), *steps.token[b, k].tolist()]
            written.append([token for token in tokens if token != pad])
        # The same step is often drawn for a problem more than once: it is asked about once.
        number: dict[tuple[str, str], int] = {}
        submitted = []
        for b, text in zip(asked[0], self.tokenizer.decode_all(written), strict=True):
            question = questions[problem_B[b]]
            prompt = question.prompt.removesuffix(question.begun)
            key = prompt, question.begun + text
            submitted.append(number.setdefault(key, len(number)))
        future = self.observer.submit(list(number))

        def answers() -> Answers:
            shape = steps.asked.shape
            token = np.full((*shape, self._max_tokens), pad, np.int32)
            length, goes_on, over = np.zeros(shape, np.int32), *np.zeros((2, *shape), bool)
            heard = [self._heard(observation) for observation in future.result()]
            for b, k, i in zip(*asked, submitted, strict=True):
                written, status = heard[i]
                if steps.ended[b, k] and status != ILLEGAL:
                    written, status = [], OVER  # nothing can be written behind it
                elif len(written) > self._max_tokens:
                    self._note(len(written))
                    written, status = [], ILLEGAL
                token[b, k, : len(written)], length[b, k] = written, len(written)
                goes_on[b, k], over[b, k] = status == GOES_ON, status == OVER
            return Answers(token, length, goes_on, over)

        return answers

    def _note(self, tokens: int) -> None:
        if not self._has_noted:
            _log.warning(
                "a step counts as illegal, and others will: its answer has %d tokens, more than "
                "search.max_observation_tokens=%d",
                tokens,
                self._max_tokens,
            )
        self._has_noted = True

    def _heard(self, observation: Observation) -> tuple[list[int], str]:
        """The observation's tokens, and the status."""
        text, status = observation
        return ([] if status == ILLEGAL else observation_tokens(self.tokenizer, text)), status


def observation_tokens(tokenizer: TextTokenizer, text: str) -> list[int]:
    """Without marks: nothing that a world prints ends a text, or reads as a special token where the
    text becomes a prompt. Characters that the tokenizer cannot write are left out.
    """
    ids = tokenizer.ids
    marks = {ids.pad, ids.bos, *ids.ends, *ids.never}
    text = tokenizer.without_marks(text)
    try:
        tokens = tokenizer.encode(text)
    except UserError:
        tokens = tokenizer.encode("".join(c for c in text if _is_writable(tokenizer, c)))
    return [token for token in tokens if token not in marks]


def _is_writable(tokenizer: TextTokenizer, character: str) -> bool:
    try:
        tokenizer.encode(character)
    except UserError:
        return False
    return True


def replayed(
    world: World | Observer,
    tokenizer: TextTokenizer,
    steps: StepEnds,
    prompt: str,
    solution: str,
) -> tuple[list[int], list[bool]]:
    """The tokens of a solution that holds a world's observations, and which of them it wrote.

    Raises:
      UserError: a step is illegal, or the solution goes on otherwise than the world answers.
    """
    if not solution:
        return [tokenizer.ids.eos], [False]
    tokens, observed, rest = [], [], solution
    while True:
        step = steps.split(tokenizer.encode(rest))[0]
        rest = rest[len(tokenizer.decode(step)) :]
        tokens += step
        observed += [False] * len(step)
        text = tokenizer.decode(tokens)
        answer = world.observe(prompt, text)
        if answer.status == ILLEGAL or not rest.startswith(answer.text):
            raise UserError(
                f"a demonstration of {prompt.strip()[:60]!r} is not what the task's world answers: "
                f"after {text[-60:]!r} it says {answer.text[:60]!r} ({answer.status})"
            )
        heard = observation_tokens(tokenizer, answer.text)
        tokens += heard
        observed += [True] * len(heard)
        rest = rest[len(answer.text) :]
        if not rest:
            # Without an observation it is the network that ends the text.
            stops = answer.status == OVER or answer.text
            end = [] if stops else [tokenizer.ids.eos]
            return tokens + end, observed + [False] * len(end)
