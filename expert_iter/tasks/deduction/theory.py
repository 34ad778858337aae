"""Facts, rules, and what follows from them by forward chaining.

A negated literal is a literal of its own: a rule with the condition "not green" fires where "not
green" is known, and not where "green" is unknown (an open world).
"""

import functools
from collections.abc import Iterable, Set
from typing import NamedTuple


class Literal(NamedTuple):
    """A statement about one subject.

    Attributes:
      subject: a name; '' is the variable of a rule.
      predicate: what is said of it, such as 'a yumpus', 'sour' or 'chase the dog'.
      holds: False for the negation.
    """

    subject: str
    predicate: str
    holds: bool = True

    @property
    def negation(self) -> "Literal":
        return self._replace(holds=not self.holds)

    def about(self, subject: str) -> "Literal":
        """The literal with `subject` in place of the variable."""
        return self if self.subject else Literal(subject, self.predicate, self.holds)


class Rule(NamedTuple):
    """If all conditions are known, the conclusion follows.

    Attributes:
      conditions: at least one literal.
      conclusion: has the variable only if a condition has it.
    """

    conditions: tuple[Literal, ...]
    conclusion: Literal


class Derived(NamedTuple):
    """How a literal follows.

    Attributes:
      depth: of the shallowest proof; 0 for a fact.
      conditions: from which one rule gives the literal; empty for a fact.
    """

    depth: int
    conditions: tuple[Literal, ...]


class Theory:
    """Facts and rules, in the order of their text."""

    def __init__(self, facts: Iterable[Literal], rules: Iterable[Rule]):
        self.facts = tuple(dict.fromkeys(facts))
        self.rules = tuple(dict.fromkeys(rules))

    @property
    def key(self) -> str:
        """Equal for theories with the same facts and rules, whatever their order and wording."""
        return f"{sorted(self.facts)} {sorted(self.rules)}"

    @functools.cached_property
    def _grounded(self) -> list[tuple[tuple[Literal, ...], Literal]]:
        """The conditions and conclusions of the rules, with each subject for the variable."""
        literals = [*self.facts, *(rule.conclusion for rule in self.rules)]
        subjects = sorted({literal.subject for literal in literals} - {""})
        return [
            (tuple(condition.about(subject) for condition in conditions), conclusion.about(subject))
            for conditions, conclusion in self.rules
            for subject in (subjects if any(not c.subject for c in conditions) else [""])
        ]

    def consequences(self, known: Set[Literal]) -> dict[Literal, tuple[Literal, ...]]:
        """What follows from `known` by one application of a rule, without what is in `known`.

        Returns:
          Each new literal, with the conditions from which it follows.
        """
        found = {}
        for conditions, conclusion in self._grounded:
            if conclusion not in known and known.issuperset(conditions):
                found.setdefault(conclusion, conditions)
        return found

    @functools.cached_property
    def closure(self) -> dict[Literal, Derived]:
        """All that follows, the facts first, then by depth."""
        closure = {fact: Derived(0, ()) for fact in self.facts}
        depth = 0
        while new := self.consequences(set(closure)):
            depth += 1
            closure |= {literal: Derived(depth, needed) for literal, needed in new.items()}
        return closure

    def proof(self, goal: Literal) -> list[Literal]:
        """The steps of a proof of `goal`, which must be in the closure. Facts are left out.

        It is a shortest one where each rule has one condition. In any theory each step is derived
        from as shallow literals as there are.
        """
        needed, waiting = set(), [goal]
        while waiting:
            literal = waiting.pop()
            if literal not in needed:
                needed.add(literal)
                waiting += self.closure[literal].conditions
        return [x for x, derived in self.closure.items() if x in needed and derived.depth]
