"""How a question is put to a model: plainly, after examples, or by a checkpoint's chat template."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from expert_iter.tasks.words.chat_template import ChatTemplate

MODES = ("plain", "few_shot", "chat")


@dataclass(frozen=True)
class Wording:
    """What stands around a question: `{question}` is replaced, and nothing else.

    `plain` ends where the model is to write on; `chat` is what a user says.
    """

    plain: str
    chat: str

    def plain_prompt(self, question: str) -> str:
        return self.plain.replace("{question}", question)

    def few_shot_prompt(self, examples: Sequence[tuple[str, str]], question: str) -> str:
        """Examples are questions with their solutions, each as the plain prompt has it."""
        shown = (f"{self.plain_prompt(asked)}{solution}\n\n" for asked, solution in examples)
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
