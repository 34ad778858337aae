"""Prompts: the plain question, after few-shot examples, or by a checkpoint's chat template."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from expert_iter.tasks.words.chat_template import ChatTemplate

MODES = ("plain", "few_shot", "chat")


@dataclass(frozen=True)
class Wording:
    """The text around a question. Only `{question}` in it is replaced.

    Attributes:
      plain: a prompt that the model continues.
      chat: the user's message in a chat.
    """

    plain: str
    chat: str

    def plain_prompt(self, question: str) -> str:
        return self.plain.replace("{question}", question)

    def few_shot_prompt(self, examples: Sequence[tuple[str, str]], question: str) -> str:
        """The plain prompt after examples, which are (question, solution) pairs."""
        shown = (f"{self.plain_prompt(example)}{solution}\n\n" for example, solution in examples)
        return "".join(shown) + self.plain_prompt(question)

    def chat_prompt(self, template: "ChatTemplate", question: str) -> str:
        return template.render(self.chat.replace("{question}", question))


_STEPS = "Work it out step by step, one step a line."
_QUESTION = "Question: {question}\nAnswer:\n"
WORDINGS = {
    "exact": Wording(
        _QUESTION, f"{{question}}\n\n{_STEPS} End with a line that has #### and the answer."
    ),
    "number": Wording(
        _QUESTION,
        f"{{question}}\n\n{_STEPS} End with a line that has #### and the answer, a number alone.",
    ),
    "math": Wording(
        _QUESTION, f"{{question}}\n\n{_STEPS} End with a line that has the answer in \\boxed{{}}."
    ),
    "choice": Wording(
        _QUESTION,
        f"{{question}}\n\n{_STEPS} End with a line that has #### and the letter of your choice.",
    ),
    "code": Wording(
        "Task: {question}\nProgram in Python:\n",
        "Solve this task in Python. Give the whole program in one ```python block.\n\n{question}",
    ),
}
