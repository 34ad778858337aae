"""Sentences of PrOntoQA and ProsQA: 'Max is a yumpus.', 'Each yumpus is not sour.'"""

import re

from expert_iter.tasks.deduction.language import Language
from expert_iter.tasks.deduction.theory import Literal, Rule

# The concepts of PrOntoQA's published problems, then the other ones of ProsQA's.
CONCEPTS = (
    "wumpus yumpus zumpus dumpus rompus numpus tumpus vumpus impus jompus "
    "lempus sterpus brimpus grimpus lorpus shumpus rorpus gorpus gerpus terpus "
    "zhorpus quimpus storpus timpus yerpus bompus jelpus boompus fompus felpus "
    "gwompus worpus hilpus rempus scrompus kerpus chorpus yimpus"
).split()

_FACT = re.compile(r"([A-Z]\w*) is (not )?((?:an? )?[a-z]\w*)\.")
_EACH = re.compile(r"(?:Each|Every) (\w+) is (not )?((?:an? )?[a-z]\w*)\.")
_PLURAL = re.compile(r"([A-Z]\w*pus)es are (not )?([a-z]\w*)\.")


class IsA(Language):
    """What a subject is: a concept or an adjective. Each rule has one condition.

    Attributes:
      an: whether the article is 'an' before a vowel. ProsQA writes 'a impus'.
    """

    an = True

    def concept(self, noun: str) -> str:
        """The noun with its article."""
        return f"an {noun}" if self.an and noun[0] in "aeiou" else f"a {noun}"

    def fact(self, sentence: str) -> Literal | None:
        found = _FACT.fullmatch(sentence)
        return Literal(found[1], found[3], not found[2]) if found else None

    def rule(self, sentence: str) -> Rule | None:
        if found := _EACH.fullmatch(sentence):
            noun, negated, predicate = found.groups()
        elif found := _PLURAL.fullmatch(sentence):
            noun, negated, predicate = found[1].lower(), found[2], found[3]
            if predicate.endswith("puses"):
                predicate = self.concept(predicate.removesuffix("es"))
        else:
            return None
        condition = Literal("", self.concept(noun))
        return Rule((condition,), Literal("", predicate, not negated))

    def sentence(self, literal: Literal) -> str:
        return f"{literal.subject} is {'' if literal.holds else 'not '}{literal.predicate}."
