"""Prompts: the plain question, after few-shot examples, or by a checkpoint's chat template."""

from collections.abc import Sequence
from dataclasses import dataclass

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

    def chat_message(self, question: str) -> str:
        return self.chat.replace("{question}", question)


_LAST_LINES = {  # by the kind of answer: what a chat asks for in the last line
    "exact": "#### and the answer",
    "number": "#### and the answer, a number alone",
    "math": "the answer in \\boxed{}",
    "choice": "#### and the letter of your choice",
}
WORDINGS = {
    kind: Wording(
        "Question: {question}\nAnswer:\n",
        "{question}\n\nWork it out step by step, one step a line. "
        f"End with a line that has {last_line}.",
    )
    for kind, last_line in _LAST_LINES.items()
}
WORDINGS["code"] = Wording(
    "Task: {question}\nProgram in Python:\n",
    "Solve this task in Python. Give the whole program in one ```python block.\n\n{question}",
)
