"""The world of deduction: checks each step against the facts and rules of the prompt."""

from expert_iter.tasks.deduction.language import Language
from expert_iter.tasks.world import GOES_ON, ILLEGAL, OVER, Observation


class DeductionWorld:
    """A `World` that writes nothing: a step is legal, or it is lost.

    Any answer to the question ends the text, right or wrong, proved or not. So the world does not
    tell the answer: up to the last line its observations depend on facts and rules alone, and
    there "True" and "False" are treated alike. In ProsQA the answers are facts, such as "Tom is a
    sterpus." If one of them were refused where it does not follow, the wrong one always would be,
    and a search could find the right one by trying both. That an answer was proved is for the
    verdict.
    """

    marks: tuple[str, ...] = ()

    def __init__(self, language: Language):
        self._language = language

    def observe(self, prompt: str, text: str) -> Observation:
        before, _, line = ("\n" + text.removesuffix("\n")).rpartition("\n")
        puzzle = self._language.puzzle(prompt)
        if line in puzzle.answers:
            return Observation("", OVER)
        # Steps that were answered are legal, so they need not be checked again.
        known = set(puzzle.theory.facts).union(map(self._language.step, before.split("\n")[1:]))
        legal = self._language.step(line) in puzzle.theory.consequences(known)
        return Observation("", GOES_ON if legal else ILLEGAL)
