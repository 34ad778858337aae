"""ProofWriter in an open world: true, false or unknown? (Tafjord et al. 2021, arXiv 2012.13048)."""

import dataclasses

import numpy as np

from expert_iter.tasks.deduction.deduction_task import DeductionConfig, DeductionTask
from expert_iter.tasks.deduction.proofwriter_language import (
    ANIMALS,
    ASKED,
    ATTRIBUTES,
    NAMES,
    VERBS,
    ProofwriterLanguage,
    is_attribute,
    rule_sentence,
    short_rule_sentence,
)
from expert_iter.tasks.deduction.theory import Literal, Rule, Theory
from expert_iter.tasks.words.published_files import Published

# As in the published problems.
_SUBJECTS = 4
_NAMED_ATTRIBUTES, _ANIMAL_ATTRIBUTES, _ANIMAL_VERBS = 7, 4, 3
_FACTS = 9, 14  # before repetitions are left out
_RULES = 7, 9
_FEWEST_OTHERS = 2  # rules beside those of the proof
_GENERAL = 0.8  # share of rules about anything, not about a name
_SAME_SUBJECT = 0.8  # share of the proof's steps that stay with their subject
_TWO_CONDITIONS = 0.4  # share of rules
_NEGATED = 0.15  # share of negations, in theories that have any

_SOURCE = "teacherpeterpan/Logic-LLM, data/ProofWriter/"
_FILES = {
    "train": (3000, "e1dc43105dbdddb9a73c7cfd026a90ced8d69850dd97aaf7bcabbfcd2f4b9b89"),
    "dev": (600, "e792b54981065c91d4aecc908be17ce9a730f2327548e6fa36717ef01e472240"),
    "test": (600, "ecb47ebdada00671e029bcd7a2fb41bfecf2a216f53b075b77816e46d6615698"),
}


def _published(name: str) -> Published:
    return Published(f"proofwriter_{name}.json", *_FILES[name], f"{_SOURCE}{name}.json")


@dataclasses.dataclass(frozen=True)
class ProofwriterConfig(DeductionConfig):
    """The settings of ProofWriter.

    Attributes:
      min_hops, max_hops: range of the depth of the shallowest proof, ends included, in problems
        that are made. 0: the statement or its negation is given. If the answer is "Unknown", there
        is another fact of this depth.
    """

    min_hops: int = 0
    max_hops: int = 5

    fewest_hops = 0


class Proofwriter(DeductionTask):
    """Theories of attributes and relations, a third of the statements each true, false, unknown.

    "Unknown" is proved by deriving all that follows: then neither the statement nor its negation
    is among it. Published problems have a depth of 0 to 5.
    """

    name = "proofwriter"
    language = ProofwriterLanguage()
    published = {
        "train": _published("train"),
        "validation": _published("dev"),
        "test": _published("test"),
    }

    def draw(self, rng: np.random.Generator, hops: int) -> str | None:
        maker = _TheoryMaker(rng, hops)
        theory, goal = maker.theory()
        closure = theory.closure
        contradicts = any(literal.negation in closure for literal in closure)
        if contradicts or closure[goal].depth != hops:
            return None
        statement = (goal, goal.negation, maker.unknown(closure))[rng.integers(3)]
        if statement is None:
            return None
        facts = sorted(theory.facts, key=lambda fact: fact[:2])
        sentence = self.language.sentence
        rules = [theory.rules[i] for i in rng.permutation(len(theory.rules))]
        return " ".join(
            [*map(sentence, facts), *map(maker.sentence, rules), ASKED, sentence(statement)]
        )


class _TheoryMaker:
    """Random literals, rules and theories over the words of one theory."""

    def __init__(self, rng: np.random.Generator, hops: int):
        self._rng, self._hops = rng, hops
        animals = rng.random() < 0.5
        self._people = bool(rng.random() < 0.5)
        self._negated = _NEGATED if rng.random() < 0.5 else 0
        choose = lambda words, count: rng.permutation(words)[:count].tolist()  # noqa: E731
        self._subjects = choose(ANIMALS if animals else NAMES, _SUBJECTS)
        least = _ANIMAL_ATTRIBUTES if animals else _NAMED_ATTRIBUTES
        self._predicates = choose(ATTRIBUTES, max(least, min(hops + 1, len(ATTRIBUTES))))
        if animals:
            verbs = choose(VERBS, _ANIMAL_VERBS)
            self._predicates += [f"{v} {thing}" for v in verbs for thing in self._subjects]

    def theory(self) -> tuple[Theory, Literal]:
        """Facts and rules, and what a chain of `hops` rules proves if nothing else is shorter."""
        rng, subject = self._rng, self._any(self._subjects)
        order = rng.permutation(self._predicates).tolist()
        chain = [self._literal(subject, order.pop())]
        facts, rules = [chain[0]], []
        for _ in range(self._hops):
            before = chain[-1]
            conditions = [before]
            if rng.random() < _TWO_CONDITIONS:
                earlier = [literal for literal in chain[:-1] if literal.subject == before.subject]
                second = self._any([*earlier, self._literal(before.subject)])
                if second.predicate != before.predicate:
                    conditions.append(second)
                    facts += [second] if second not in chain else []
            stays = rng.random() < _SAME_SUBJECT
            subject = before.subject if stays else self._any(self._subjects)
            chain.append(self._literal(subject, order.pop()))
            rules.append(self._generalised(Rule(tuple(conditions), chain[-1])))
        others = int(rng.integers(*_FACTS, endpoint=True)) - len(facts)
        facts += [self._literal(self._any(self._subjects)) for _ in range(others)]
        others = int(rng.integers(*_RULES, endpoint=True)) - len(rules)
        rules += [self._rule() for _ in range(max(others, _FEWEST_OTHERS))]
        return Theory(facts, rules), chain[-1]

    def unknown(self, closure: dict) -> Literal | None:
        """A statement that is not settled; None if all are."""
        known = {literal[:2] for literal in closure}
        found = [
            Literal(subject, predicate, bool(self._rng.random() < 0.5))
            for subject in self._subjects
            for predicate in self._predicates
            if (subject, predicate) not in known
        ]
        return self._any(found) if found else None

    def sentence(self, rule: Rule) -> str:
        """A rule in words; some of attributes alone in the short form."""
        literals = (*rule.conditions, rule.conclusion)
        short = all(not literal.subject and is_attribute(literal) for literal in literals)
        negated = any(not condition.holds for condition in rule.conditions)
        if short and not negated and self._rng.random() < 0.6:
            return short_rule_sentence(rule, self._people, every=bool(self._rng.random() < 0.5))
        return rule_sentence(rule, self._people)

    def _any(self, choices: list):
        return choices[self._rng.integers(len(choices))]

    def _literal(self, subject: str, predicate: str = "") -> Literal:
        holds = bool(self._rng.random() >= self._negated)
        return Literal(subject, predicate or self._any(self._predicates), holds)

    def _rule(self) -> Rule:
        subject, count = self._any(self._subjects), 1 + int(self._rng.random() < _TWO_CONDITIONS)
        order = self._rng.permutation(self._predicates).tolist()
        literals = [self._literal(subject, order.pop()) for _ in range(count + 1)]
        return self._generalised(Rule(tuple(literals[:-1]), literals[-1]))

    def _generalised(self, rule: Rule) -> Rule:
        """The rule about anything that has the conditions, or as it is."""
        if self._rng.random() >= _GENERAL:
            return rule
        subject = rule.conditions[0].subject
        open_ = lambda x: x._replace(subject="") if x.subject == subject else x  # noqa: E731
        return Rule(tuple(map(open_, rule.conditions)), open_(rule.conclusion))
