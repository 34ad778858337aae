"""Solutions: a derived fact a line, then the answer.

    Max is a dumpus.
    Max is a wumpus.
    Max is not wooden.
    False

The answer ends the text, with or without a newline after it.
"""

from typing import NamedTuple

import numpy as np

from expert_iter.tasks.deduction.language import Language
from expert_iter.tasks.deduction.theory import Literal


class Solution(NamedTuple):
    """A solution, read.

    Attributes:
      answer: the last line; None if it is no answer to the question.
      known: the facts and what was derived; None if a step before the last line is illegal.
    """

    answer: str | None
    known: set[Literal] | None


def read(language: Language, prompt: str, text: str) -> Solution:
    """Reads a solution and checks its steps.

    A step is legal if one rule gives it from what is known by then, and it was not known before:
    with repetitions, a search could go on for ever.
    """
    puzzle = language.puzzle(prompt)
    *steps, last = text.removesuffix("\n").split("\n")
    answer = last if last in puzzle.answers else None
    known = set(puzzle.theory.facts)
    for line in steps:
        literal = language.step(line)
        if line in puzzle.answers or literal not in puzzle.theory.consequences(known):
            return Solution(answer, None)
        known.add(literal)
    # In ProsQA the answer is a fact as any other: it may be the last one that is derived.
    if answer and (literal := language.step(answer)) in puzzle.theory.consequences(known):
        known.add(literal)
    return Solution(answer, known)


def random_play(language: Language, prompt: str, rng: np.random.Generator) -> str:
    """Steps sampled uniformly from the legal ones, then an answer sampled from all answers.

    How many steps there are is uniform, from none to all that can be derived.
    """
    puzzle = language.puzzle(prompt)
    theory = puzzle.theory
    known, lines = set(theory.facts), []
    for _ in range(rng.integers(len(theory.closure) - len(known), endpoint=True)):
        steps = [
            literal
            for literal in theory.consequences(known)
            if language.sentence(literal) not in puzzle.answers
        ]
        if not steps:
            break
        known.add(step := steps[rng.integers(len(steps))])
        lines.append(language.sentence(step))
    answers = list(puzzle.answers)
    return _text([*lines, answers[rng.integers(len(answers))]])


def gold(language: Language, prompt: str, answer: str) -> str:
    """The proof of an answer that follows; for "Unknown", all that can be derived."""
    puzzle = language.puzzle(prompt)
    theory, literal = puzzle.theory, puzzle.answers[answer]
    if literal is None:
        steps = [x for x, derived in theory.closure.items() if derived.depth]
    else:
        steps = theory.proof(literal)
    lines = [language.sentence(step) for step in steps]
    return _text([*(line for line in lines if line != answer), answer])


def _text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
