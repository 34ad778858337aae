"""Python as a world: what a block prints stands behind it.

    ```python                       the network writes
    print(48 + 48 / 2)
    ```
    ```output                       the tool answers
    72.0
    ```
    #### 72                         the network goes on

Blocks of a solution share their names, as in a notebook: all are run again in the sandbox, and what
the last one prints is new.
"""

import functools

from expert_iter.tasks.code.sandbox.containment import pick_containment
from expert_iter.tasks.code.sandbox.program import Limits
from expert_iter.tasks.code.session import Stopped, printed
from expert_iter.tasks.world import GOES_ON, Observation

_OPEN, _OUTPUT, _CLOSE = "```python", "```output", "```"
_LIMITS = Limits(output_bytes=1 << 16)
# A block that did not come to its end is not run again. (One that prints such a last line isn't
# either; it has nobody but itself to blame.)
_STOPPED = "stopped: "
_CACHED = 4096  # sessions


class Python:
    """The `World` of Python: it answers a line ``` that closes a ```python block, and nothing else.

    It forbids nothing: errors and limits are answers.

    Attributes:
      most_characters: of what a block printed, and of its error; the rest is cut off.
    """

    marks = ("\n",)  # a block's last line ends a step, also where steps are paragraphs
    symbols = ("```",)
    in_process = False
    chat = (
        "You can run Python: what a ```python block prints is shown behind it in an ```output "
        "block."
    )

    def __init__(self, most_characters: int, limits: Limits = _LIMITS):
        self.most_characters, self._limits = most_characters, limits
        self._output = functools.lru_cache(_CACHED)(self._run)

    def prepare(self) -> None:
        """Raises UserError if this machine has no sandbox."""
        pick_containment()

    def observe(self, prompt: str, text: str) -> Observation:
        blocks = _waiting(text)
        if not blocks:
            return Observation("", GOES_ON)
        output = self._output(blocks)
        begin = "" if text.endswith("\n") else "\n"
        return Observation(f"{begin}{_OUTPUT}\n{output}{_CLOSE}\n", GOES_ON)

    def _run(self, blocks: tuple[str, ...]) -> str:
        """What the last of the blocks prints, and its error: lines with their ends, or ''."""
        try:
            parts = map(self._shown, printed(blocks, self._limits))
        except Stopped as stopped:
            parts = [f"{_STOPPED}{stopped}"]
        return "".join(f"{part}\n" for part in parts if part)

    def _shown(self, text: str) -> str:
        # A fence would end the block, and what cannot be seen may have a meaning elsewhere.
        text = text.replace("```", "'''").expandtabs(4).rstrip()
        text = "".join(c if c == "\n" or c.isprintable() else "?" for c in text)
        return text if len(text) <= self.most_characters else f"{text[: self.most_characters]}..."


def _waiting(text: str) -> tuple[str, ...]:
    """The blocks of a solution whose last one is to be answered; none if nothing is.

    A block waits until there is an ```output block behind it. The network cannot write that itself,
    for the answer comes first.
    """
    blocks, inside, lines, waits = [], "", [], False
    for line in text.split("\n")[:-1]:  # the last line is not complete
        mark = line.rstrip()
        if inside and mark == _CLOSE:
            if inside == _OPEN:
                blocks.append("\n".join(lines))
            elif lines and lines[-1].startswith(_STOPPED):
                blocks.pop()
            inside, waits = "", inside == _OPEN
        elif inside:
            lines.append(line)
        elif mark == _OPEN or (mark == _OUTPUT and waits):
            inside, lines = mark, []
    return tuple(blocks) if waits and not inside else ()
