"""The settings of all text tasks."""

import dataclasses

from expert_iter.errors import UserError
from expert_iter.range_checks import Checks
from expert_iter.tasks.words.prompts import MODES
from expert_iter.tasks.words.tools import NONE, TOOLS


@dataclasses.dataclass(frozen=True)
class TextConfig:
    """Prompts, sizes, and the TFDS dataset.

    Attributes:
      prompt: 'plain': the question, for a model that has learned the format. 'few_shot': the
        question after examples with solutions, for a base model. 'chat': by a chat template.
      shots: examples in a few-shot prompt. They are the same for all problems, except that a
        problem is never its own example.
      shots_seed: seed of the choice of examples.
      chat_template: a checkpoint's tokenizer_config.json or chat_template.jinja.
      tools: 'none', or who answers in the middle of a solution. 'calculator': an expression such as
        <<48/2= gets its result. 'python': a fenced block of Python is run in the sandbox, and what
        it prints stands behind it. Neither is for tasks of code.
      tool_characters: most characters of what a block of Python prints, and of its error.
      drop_contaminated: remove training problems that occur in the test; see contamination.py.
      train_size, validation_size, test_size: use only this many problems, the first; 0: all.
      tfds_dir: directory of a TFDS dataset of the rows, built there from the files at first use.
        Empty: the rows are read from the files. The problems are the same.
    """

    prompt: str = "plain"
    shots: int = 4
    shots_seed: int = 0
    chat_template: str = ""
    tools: str = NONE
    tool_characters: int = 200
    drop_contaminated: bool = False
    train_size: int = 0
    validation_size: int = 0
    test_size: int = 0
    tfds_dir: str = ""

    def __post_init__(self):
        check = Checks("task", self)
        check.one_of("prompt", *MODES)
        check.one_of("tools", *TOOLS)
        check.between(1, 10_000, "tool_characters")
        if self.prompt == "chat" and not self.chat_template:
            raise UserError(
                "task.prompt=chat needs task.chat_template: name the checkpoint's "
                "tokenizer_config.json or chat_template.jinja"
            )
        check.between(1, 64, "shots")
        check.between(0, 2**32 - 1, "shots_seed")
        check.not_negative("train_size", "validation_size", "test_size")
