"""What a row of the learner has room for, and what becomes of training texts that are too long."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from expert_iter.errors import UserError
from expert_iter.learn.step_tree import StepTree
from expert_iter.model.tokenizers.tokenizer import TextTokenizer
from expert_iter.tasks.task import Problem

REFUSE, DROP, CUT = OVERLONG = "refuse", "drop", "cut"
_SHOWN = 10  # texts named in one line


class Overlong(NamedTuple):
    """A training text that needs more room than there is.

    Attributes:
      name: where it was read, or whose it is, for people.
      tokens, steps: the room that it needs.
      in_prompt: its prompt leaves no room for anything to be learned.
    """

    name: str
    tokens: int
    steps: int
    in_prompt: bool

    def __str__(self) -> str:
        what = "with its prompt and one step" if self.in_prompt else f"in {self.steps} steps"
        return f"{self.name} ({self.tokens} tokens {what})"


@dataclasses.dataclass(frozen=True)
class Room:
    """That of a row: so many tokens, in so many steps, of which the prompt is one."""

    tokens: int
    steps: int

    def holds(self, tokens: int, steps: int) -> bool:
        return tokens <= self.tokens and steps <= self.steps

    def beginning(self, path: StepTree) -> StepTree:
        """What there is room for of a tree without branches, from its first token on.

        The last step may be cut off, and the end of the text is cut off: the tokens that are left
        teach what they did, and none teaches that the text ends there.
        """
        ends = np.minimum(np.cumsum(path.length), self.tokens)
        length = np.diff(ends, prepend=0).astype(path.length.dtype)
        length = length[length > 0][: self.steps]
        steps = len(length)
        return dataclasses.replace(
            path,
            token=path.token[: length.sum()],
            length=length,
            parent=path.parent[:steps],
            columns={name: values[:steps] for name, values in path.columns.items()},
        )


def long_prompts(
    problems: Sequence[Problem], tokenizer: TextTokenizer, room: Room, step_tokens: int
) -> dict[int, Overlong]:
    """The problems, by their place, whose prompts leave no room for a step of `step_tokens`.

    Raises UserError naming a problem whose prompt the tokenizer cannot write.
    """
    found = {}
    for i, problem in enumerate(problems):
        tokens = len(prompt_tokens(problem, tokenizer)) + step_tokens
        if not room.holds(tokens, steps=2):
            found[i] = Overlong(problem.name, tokens, 2, in_prompt=True)
    return found


def prompt_tokens(problem: Problem, tokenizer: TextTokenizer) -> list[int]:
    """Raises UserError naming the problem if the tokenizer cannot write its prompt."""
    try:
        return tokenizer.encode_prompt(problem.prompt)
    except UserError as error:
        raise UserError(f"{problem.name}: {error}") from None


def refusal(overlong: Sequence[Overlong], room: Room) -> UserError:
    """What is said where learner.overlong=refuse."""
    tokens, steps = (max(sizes) for sizes in zip(*(o[1:3] for o in overlong), strict=True))
    wanted = [f"learner.row_tokens to at least {tokens}"] * (tokens > room.tokens)
    wanted += [f"learner.row_steps to at least {steps}"] * (steps > room.steps)
    return UserError(
        f"training texts are longer than a row of the learner ({room.tokens} tokens in "
        f"{room.steps} steps), {_named(overlong)}. Raise {' and '.join(wanted)}, or set "
        "learner.overlong=drop to leave them out, or cut to learn the beginnings of solutions"
    )


def note(overlong: Sequence[Overlong], policy: str) -> str:
    """What is said where it is 'drop' or 'cut': a line on what is left out and one on what is cut,
    where there is any.
    """
    left_out = [text for text in overlong if policy == DROP or text.in_prompt]
    cut = [text for text in overlong if policy == CUT and not text.in_prompt]
    return "\n".join(
        f"learner.overlong={policy}: training texts are {done}, {_named(texts)}"
        for texts, done in ((left_out, "left out"), (cut, "cut to a row"))
        if texts
    )


def _named(overlong: Sequence[Overlong]) -> str:
    shown = ", ".join(map(str, overlong[:_SHOWN]))
    return f"{len(overlong)} in all: {shown}{', …' if len(overlong) > _SHOWN else ''}"
