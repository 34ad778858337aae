"""The settings of all text tasks."""

import dataclasses

from expert_iter.errors import UserError
from expert_iter.tasks.task import SPLITS, check
from expert_iter.tasks.words.prompts import MODES

MOST_SHOTS = 64
MOST_ROWS = 100_000_000


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
      drop_contaminated: remove training problems that occur in the test; see contamination.py.
      train_size, validation_size, test_size: use only this many problems, the first; 0: all.
      tfds_dir: directory of a TFDS dataset of the rows, built there from the files at first use.
        Empty: the rows are read from the files. The problems are the same.
    """

    prompt: str = "plain"
    shots: int = 4
    shots_seed: int = 0
    chat_template: str = ""
    drop_contaminated: bool = False
    train_size: int = 0
    validation_size: int = 0
    test_size: int = 0
    tfds_dir: str = ""

    def __post_init__(self):
        if self.prompt not in MODES:
            raise UserError(f"task.prompt={self.prompt!r} is none of {', '.join(MODES)}")
        if self.prompt == "chat" and not self.chat_template:
            raise UserError(
                "task.prompt=chat needs task.chat_template: name the checkpoint's "
                "tokenizer_config.json or chat_template.jinja"
            )
        check("shots", self.shots, 1, MOST_SHOTS)
        check("shots_seed", self.shots_seed, 0, 2**32 - 1)
        for split in SPLITS:
            check(f"{split}_size", getattr(self, f"{split}_size"), 0, MOST_ROWS)
