"""Sentences of ProofWriter: 'The cat does not chase the dog.', 'Red, kind things are young.'"""

import re

from expert_iter.tasks.deduction.language import Language
from expert_iter.tasks.deduction.theory import Literal, Rule

NAMES = "Anne Bob Charlie Dave Erin Fiona Gary Harry".split()
ANIMALS = [
    f"the {animal}"
    for animal in (*"bear cat cow dog lion mouse rabbit squirrel tiger".split(), "bald eagle")
]
VERBS = "chase eat like need see visit".split()
ATTRIBUTES = "big blue cold green kind nice red rough round young furry quiet smart white".split()

ASKED = "Based on the above information, is the following statement true, false, or unknown?"
_NAME = r"(?:[Tt]he (?:bald )?\w+|[A-Z][a-z]+)"
_VARIABLES = ("something", "someone", "it", "they")
_SUBJECT = rf"({_NAME}|{'|'.join(_VARIABLES)})"
_IS = re.compile(rf"{_SUBJECT} (?:is|are) (not )?([a-z]+)")
_DOES = re.compile(
    rf"{_SUBJECT} (?:({'|'.join(VERBS)})s?|do(?:es)? not ({'|'.join(VERBS)})) ({_NAME})"
)
_IF = re.compile(r"If (.+) then (.+)\.")
_ALL = re.compile(r"(?:All )?([A-Za-z]+(?:, [a-z]+)*) (?:things|people) are (not )?([a-z]+)\.")


class ProofwriterLanguage(Language):
    """Attributes and relations, of names and of whatever has others. The world is open.

    The predicate of a relation is its verb with the object, as in 'chase the dog'.
    """

    question = re.compile(re.escape(ASKED) + r" ([A-Z][^.]*\.)")
    example = f"Anne is red. If someone is red then they are not big. {ASKED} Anne is big."

    def fact(self, sentence: str) -> Literal | None:
        literal = _clause(sentence.removesuffix(".")) if sentence.endswith(".") else None
        return literal if literal is not None and literal.subject else None

    def rule(self, sentence: str) -> Rule | None:
        if found := _ALL.fullmatch(sentence):
            attributes, negated, attribute = found.groups()
            conditions = [Literal("", word) for word in attributes.lower().split(", ")]
            return Rule(tuple(conditions), Literal("", attribute, not negated))
        found = _IF.fullmatch(sentence)
        if found is None:
            return None
        conditions = []
        for text in found[1].split(" and "):
            literal = _clause(text)
            if literal is None and conditions and (short := re.fullmatch("(not )?([a-z]+)", text)):
                literal = Literal(conditions[-1].subject, short[2], not short[1])
            conditions.append(literal)
        conclusion = _clause(found[2])
        if None in (*conditions, conclusion):
            return None
        if not conclusion.subject and all(condition.subject for condition in conditions):
            return None  # of what is it said?
        return Rule(tuple(conditions), conclusion)

    def sentence(self, literal: Literal) -> str:
        clause = clause_of(literal, literal.subject)
        return f"{clause[0].upper()}{clause[1:]}."

    def answers(self, *asked: str) -> dict[str, Literal | None]:
        statement = self.fact(asked[0])
        if statement is None:
            raise ValueError(f"{asked[0][:60]!r} is not a statement")
        return {"True": statement, "False": statement.negation, "Unknown": None}

    def symbols(self) -> list[str]:
        subjects = [*NAMES, *ANIMALS, *(animal.capitalize() for animal in ANIMALS)]
        are = [f" {verb}{negation} " for verb in ("is", "are") for negation in ("", " not")]
        forms = [(f"{verb}s", f"does not {verb}", verb, f"do not {verb}") for verb in VERBS]
        do = [f" {form} " for verb_forms in forms for form in verb_forms]
        words = [*ATTRIBUTES, *(word.capitalize() for word in ATTRIBUTES), " things", " people"]
        rules = ["If ", "All ", " and ", " then ", *_VARIABLES, "not ", ", "]
        answers = ["True", "False", "Unknown"]
        return [*subjects, *are, *do, *words, *rules, *answers, f"{ASKED} ", ". ", ".\n"]


def clause_of(literal: Literal, subject: str, plural: bool = False) -> str:
    """Writes 'SUBJECT is not kind' or 'SUBJECT chases the dog'."""
    verb, _, thing = literal.predicate.partition(" ")
    if not thing:
        return f"{subject} {'are' if plural else 'is'} {'' if literal.holds else 'not '}{verb}"
    if literal.holds:
        return f"{subject} {verb}{'' if plural else 's'} {thing}"
    return f"{subject} {'do' if plural else 'does'} not {verb} {thing}"


def rule_sentence(rule: Rule, people: bool) -> str:
    """Writes 'If something chases the dog and it is not kind then it is big.'

    people: whether the variable is 'someone' and 'they', not 'something' and 'it'.
    """
    first, later = ("someone", "they") if people else ("something", "it")
    conditions = []
    for i, condition in enumerate(rule.conditions):
        subject = condition.subject or (first if i == 0 else later)
        clause = clause_of(condition, subject, plural=subject == "they")
        if subject == later and is_attribute(condition) and is_attribute(rule.conditions[i - 1]):
            clause = clause.partition(" ")[2].partition(" ")[2]  # 'red and not kind'
        conditions.append(clause)
    subject = rule.conclusion.subject or later
    then = clause_of(rule.conclusion, subject, plural=subject == "they")
    return f"If {' and '.join(conditions)} then {then}."


def short_rule_sentence(rule: Rule, people: bool, every: bool) -> str:
    """Writes 'Red, kind things are big.' or 'All red, kind things are big.', of attributes."""
    words = ", ".join(condition.predicate for condition in rule.conditions)
    words = f"All {words}" if every else words.capitalize()
    subject = f"{words} {'people' if people else 'things'}"
    return f"{clause_of(rule.conclusion, subject, plural=True)}."


def is_attribute(literal: Literal) -> bool:
    return " " not in literal.predicate


def _clause(text: str) -> Literal | None:
    if found := _IS.fullmatch(text):
        subject, negated, predicate = found.groups()
    elif found := _DOES.fullmatch(text):
        subject, verb, negated, thing = found.groups()
        predicate = f"{verb or negated} {thing}"
    else:
        return None
    if subject.lower() in _VARIABLES:
        subject = ""
    elif subject.startswith("The "):
        subject = f"the {subject[4:]}"
    return Literal(subject, predicate, not negated)
