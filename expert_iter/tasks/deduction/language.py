"""The words of a data set: its sentences as literals and rules, its prompts as puzzles."""

import abc
import functools
import re
from typing import NamedTuple

from expert_iter.tasks.deduction.theory import Literal, Rule, Theory


class Puzzle(NamedTuple):
    """A prompt, read.

    Attributes:
      theory: the facts and rules.
      answers: each line that answers the question, with the literal that proves it. None stands
        where an answer is proved by all else that follows, as "Unknown" is.
    """

    theory: Theory
    answers: dict[str, Literal | None]

    def right_answer(self) -> str:
        """The answer that follows. Raises ValueError unless there is exactly one."""
        follow = [a for a, literal in self.answers.items() if literal in self.theory.closure]
        unknown = [a for a, literal in self.answers.items() if literal is None]
        right = follow or unknown
        if len(right) != 1:
            count = "no answer follows" if not right else "more than one answer follows"
            raise ValueError(f"{count} from the facts and rules")
        return right[0]

    def is_proved(self, answer: str, known: set[Literal]) -> bool:
        """Whether the literals `known` prove the right answer."""
        literal = self.answers[answer]
        return not self.theory.consequences(known) if literal is None else literal in known


class Language(abc.ABC):
    """Reads and writes the sentences of a data set.

    Attributes:
      question: matches a question. Its groups are what `answers` needs.
      example: a problem on one line, for messages.
    """

    question: re.Pattern
    example: str

    @abc.abstractmethod
    def fact(self, sentence: str) -> Literal | None:
        """Reads a fact, such as 'Max is a yumpus.'; None for any other text."""

    @abc.abstractmethod
    def rule(self, sentence: str) -> Rule | None:
        """Reads a rule, such as 'Each yumpus is sour.'; None for any other text."""

    @abc.abstractmethod
    def sentence(self, literal: Literal) -> str:
        """Writes a fact."""

    @abc.abstractmethod
    def answers(self, *asked: str) -> dict[str, Literal | None]:
        """The answers of a puzzle, from the groups of `question`. Raises ValueError."""

    @abc.abstractmethod
    def symbols(self) -> list[str]:
        """What a tokenizer keeps whole."""

    def step(self, line: str) -> Literal | None:
        """Reads a step, which must be worded as `sentence` words it."""
        literal = self.fact(line)
        return literal if literal is not None and self.sentence(literal) == line else None

    def prompt(self, text: str) -> str:
        """The text as a prompt: facts and rules on a line, the question on the next.

        Raises:
          ValueError: no question ends the text.
        """
        text = " ".join(text.split())
        found = re.search(rf"(?<=\. )(?:{self.question.pattern})$", text)
        if found is None:
            raise ValueError("no question comes after the facts and rules")
        return f"{text[: found.start() - 1]}\n{found[0]}\n"

    @functools.lru_cache(maxsize=1 << 12)  # noqa: B019 (a process has one language or two)
    def puzzle(self, prompt: str) -> Puzzle:
        """Reads a prompt. Raises ValueError, with the reason, for any other text."""
        context, _, question = prompt.removesuffix("\n").partition("\n")
        asked = self.question.fullmatch(question)
        if asked is None:
            raise ValueError("no question comes after the facts and rules")
        facts, rules = [], []
        for sentence in re.findall(r"[^.]+\.?", context):
            sentence = sentence.strip()
            if (rule := self.rule(sentence)) is not None:
                rules.append(rule)
            elif (fact := self.fact(sentence)) is not None:
                facts.append(fact)
            else:
                raise ValueError(f"{sentence[:60]!r} is neither a fact nor a rule")
        return Puzzle(Theory(facts, rules), self.answers(*asked.groups()))
