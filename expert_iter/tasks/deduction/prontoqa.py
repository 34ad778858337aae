"""PrOntoQA: is a statement true or false? (Saparov and He 2023, arXiv 2210.01240)."""

import re
from collections.abc import Sequence

import numpy as np

from expert_iter.tasks.deduction.deduction_task import DeductionTask
from expert_iter.tasks.deduction.is_a import CONCEPTS, IsA
from expert_iter.tasks.deduction.theory import Literal
from expert_iter.tasks.words.published_files import Published

_ASKED = "Is the following statement true or false?"
_NAMES = "Alex Fae Max Polly Rex Sally Sam Stella Wren".split()
# Those of one line exclude each other, so a published problem has at most one of them.
_ADJECTIVES = (
    "blue red brown orange",
    "small large",
    "metallic wooden luminous liquid",
    "transparent opaque",
    "nervous happy feisty shy",
    "bright dull",
    "sweet sour spicy bitter",
    "floral fruity earthy",
    "hot cold temperate",
    "kind mean angry amenable aggressive",
)
# As in the published problems.
_AFTER_HOPS = 4  # concepts that the proof does not need
_COMMON = 10  # concepts to choose from, where that is enough
_NEGATED = 0.35  # share of negations among adjectives


class ProntoqaLanguage(IsA):
    """Facts and rules, then a statement that is true or false."""

    question = re.compile(re.escape(_ASKED) + r" ([A-Z]\w* is [^.]*\.)")
    example = f"Each yumpus is sour. Max is a yumpus. {_ASKED} Max is not sour."

    def answers(self, *asked: str) -> dict[str, Literal | None]:
        statement = self.fact(asked[0])
        if statement is None:
            raise ValueError(f"{asked[0][:60]!r} is not a statement")
        return {"True": statement, "False": statement.negation}

    def symbols(self) -> list[str]:
        nouns = [noun for concept in CONCEPTS for noun in (concept, f"{concept}es")]
        verbs = [f" {verb} " for verb in ("is", "is a", "is an", "is not", "are", "are not")]
        adjectives = " ".join(_ADJECTIVES).split()
        starts = [noun.capitalize() for noun in nouns if noun.endswith("es")]
        marks = ["Each ", "Every ", f"{_ASKED} ", "True", "False", ". ", ".\n"]
        return [*nouns, *starts, *verbs, *adjectives, *_NAMES, *marks]


class Prontoqa(DeductionTask):
    """Chains of concepts with an adjective each, such as the published problems have.

    A hop is one application of a rule. The published problems, all of five hops, are the test.
    """

    name = "prontoqa"
    language = ProntoqaLanguage()
    published = {
        "test": Published(
            "prontoqa_dev.json",
            500,
            "2d2e9d0adbef05cd66b51d11516b8fb3d3fb2cbc1664867d1123a000f7b11a5f",
            "teacherpeterpan/Logic-LLM, data/ProntoQA/dev.json",
        )
    }

    def draw(self, rng: np.random.Generator, hops: int) -> str:
        """A chain of `hops` + 4 concepts, and one beside it that misleads.

        The subject is one of the first four. The last hop is the step from the right concept to its
        adjective, and what misleads is a concept with the opposite one.
        """
        length = hops + _AFTER_HOPS
        concepts = rng.permutation(CONCEPTS[: max(_COMMON, length + 1)])[: length + 1]
        *chain, other = (concept.item() for concept in concepts)
        adjectives = _distinct_adjectives(rng, length - 1)
        holds = rng.random(length - 1) >= _NEGATED
        start = int(rng.integers(_AFTER_HOPS))
        goal = start + hops - 1
        sentences = []
        for i, adjective in enumerate(adjectives):
            sentences.append(self._rule(rng, chain[i], adjective, holds[i]))
            sentences.append(self._rule(rng, chain[i], self.language.concept(chain[i + 1]), True))
        misleading = self._rule(rng, other, adjectives[goal], not holds[goal])
        sentences.insert(rng.integers(len(sentences) + 1), misleading)
        name = _NAMES[rng.integers(len(_NAMES))]
        fact = Literal(name, self.language.concept(chain[start]))
        statement = Literal(name, adjectives[goal], bool(rng.integers(2)))
        sentence = self.language.sentence
        return " ".join([*sentences, sentence(fact), _ASKED, sentence(statement)])

    def _rule(self, rng: np.random.Generator, noun: str, predicate: str, holds: bool) -> str:
        """Words a rule; half of the published ones are plural."""
        negation = "" if holds else "not "
        word = rng.choice(["", "", "Each", "Every"])
        if word:
            return f"{word} {noun} is {negation}{predicate}."
        last = predicate.split()[-1]
        return f"{noun.capitalize()}es are {negation}{last}{'es' if last != predicate else ''}."


def _distinct_adjectives(rng: np.random.Generator, count: int) -> Sequence[str]:
    """Random adjectives, of as many kinds as possible."""
    kinds = [rng.permutation(kind.split()).tolist() for kind in _ADJECTIVES]
    order = rng.permutation(len(kinds))
    turns = range(max(map(len, kinds)))
    return [kinds[i][turn] for turn in turns for i in order if turn < len(kinds[i])][:count]
