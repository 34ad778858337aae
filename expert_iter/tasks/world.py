"""The interface of a world: the side of a task that answers steps."""

from typing import NamedTuple, Protocol

GOES_ON, ILLEGAL, OVER = "goes on", "illegal", "over"


class Observation(NamedTuple):
    """What a world answers to a step.

    Attributes:
      text: is written behind the step, after whatever ended it; '' for nothing.
      status: GOES_ON; ILLEGAL, where the step breaks a rule, and is lost; OVER, where the text is
        complete, and a verdict can be given.
    """

    text: str
    status: str = GOES_ON


class World(Protocol):
    """The rules of a task, or its tools. A task has it as its attribute `world`.

    A world sees what the network sees: the prompt and the steps, never the problem's answer. So it
    can tell nothing but what follows from the rules.

    Attributes:
      marks: what ends a step that is to be answered, beside the end of a line.
      in_process: whether `observe` is cheap and safe enough for this process; without this
        attribute it is. Other worlds are asked in worker processes (`tasks.verifier.observer`).
    """

    marks: tuple[str, ...]
    in_process: bool

    def observe(self, prompt: str, text: str) -> Observation:
        """Answers the last step of a solution.

        Args:
          prompt: of the problem.
          text: the solution so far. Each of its steps but the last has been answered: it goes on,
            and the answer is there behind it.
        """
