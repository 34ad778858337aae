"""A task's world, asked about steps of tokens."""

import logging
from collections.abc import Callable, Sequence

import numpy as np

from expert_iter.errors import UserError
from expert_iter.model.step_ends import StepEnds
from expert_iter.model.tokenizers.tokenizer import TextTokenizer
from expert_iter.search.drafts import Answers, NewSteps
from expert_iter.tasks.task import Question
from expert_iter.tasks.world import GOES_ON, ILLEGAL, OVER, Observation, World

_log = logging.getLogger(__name__)


class HostWorld:
    """Asks about the last steps of texts.

    max_tokens: of an observation; a longer one makes its step illegal, for it has no room.
    """

    def __init__(self, world: World, tokenizer: TextTokenizer, max_tokens: int):
        self.world, self.tokenizer, self._max_tokens = world, tokenizer, max_tokens

    def ask(
        self, questions: Sequence[Question], problem_B: np.ndarray, steps: NewSteps
    ) -> Callable[[], Answers]:
        """Answers new steps.

        Args:
          questions: of a batch.
          problem_B: [B] int. The rows' questions, by their numbers.
          steps: on the host.

        Returns:
          A function that gives the answers `[B, M]`, on the host.
        """
        pad, asked = self.tokenizer.ids.pad, np.nonzero(steps.asked)
        written = []
        for b, k in zip(*asked, strict=True):
            tokens = [*steps.prefix[b].ravel().tolist(), *steps.token[b, k].tolist()]
            written.append([token for token in tokens if token != pad])
        # The same step is often drawn for a problem more than once.
        observed: dict[tuple[str, str, bool], tuple[list[int], str]] = {}
        shape = steps.asked.shape
        token = np.full((*shape, self._max_tokens), pad, np.int32)
        length, goes_on, over = np.zeros(shape, np.int32), *np.zeros((2, *shape), bool)
        texts = self.tokenizer.decode_all(written)
        for b, k, text, ended in zip(*asked, texts, steps.ended[asked].tolist(), strict=True):
            question = questions[problem_B[b]]
            prompt = question.prompt.removesuffix(question.begun)
            key = prompt, question.begun + text, ended
            if key not in observed:
                observed[key] = self._observed(*key)
            answer, status = observed[key]
            token[b, k, : len(answer)], length[b, k] = answer, len(answer)
            goes_on[b, k], over[b, k] = status == GOES_ON, status == OVER
        answers = Answers(token, length, goes_on, over)
        return lambda: answers

    def _observed(self, prompt: str, text: str, ended: bool) -> tuple[list[int], str]:
        """The observation's tokens, and the status. ended: by the network's own end mark."""
        try:
            observation = self.world.observe(prompt, text)
        except Exception as error:
            _log.warning("a step counts as illegal: %s: %s", type(error).__name__, error)
            observation = Observation("", ILLEGAL)
        if observation.status == ILLEGAL:
            return [], ILLEGAL
        if ended:  # nothing can be written behind it
            return [], OVER
        tokens = observation_tokens(self.tokenizer, observation.text)
        return (tokens, observation.status) if len(tokens) <= self._max_tokens else ([], ILLEGAL)


def observation_tokens(tokenizer: TextTokenizer, text: str) -> list[int]:
    """Without marks: nothing that a world prints ends a text."""
    ids = tokenizer.ids
    marks = {ids.pad, ids.bos, *ids.ends, *ids.never}
    return [token for token in tokenizer.encode(text) if token not in marks]


def replayed(
    world: World, tokenizer: TextTokenizer, steps: StepEnds, prompt: str, solution: str
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
