"""Forward chaining, against definitions that do not chain."""

import itertools

import numpy as np
import pytest

from expert_iter.tasks.deduction.theory import Literal, Rule, Theory

SUBJECTS, PREDICATES = ("Ann", "Bo"), ("red", "big", "cold")


def random_theory(rng, conditions=2):
    def literal(subjects):
        return Literal(str(rng.choice(subjects)), str(rng.choice(PREDICATES)), rng.random() < 0.7)

    rules = []
    for _ in range(4):
        needed = tuple(literal(("", "", *SUBJECTS)) for _ in range(rng.integers(conditions) + 1))
        general = any(not condition.subject for condition in needed)
        rules.append(Rule(needed, literal(("", *SUBJECTS) if general else SUBJECTS)))
    return Theory([literal(SUBJECTS) for _ in range(2)], rules)


def instances(rule):
    """The rule for each subject in place of its variable."""
    for subject in SUBJECTS:
        put = lambda x: Literal(x.subject or subject, x.predicate, x.holds)  # noqa: B023, E731
        yield {put(condition) for condition in rule.conditions}, put(rule.conclusion)


@pytest.mark.parametrize("seed", range(20))
def test_the_closure_is_the_smallest_closed_set_that_has_the_facts(seed):
    theory = random_theory(np.random.default_rng(seed))
    universe = [Literal(*x) for x in itertools.product(SUBJECTS, PREDICATES, (True, False))]
    grounded = [instance for rule in theory.rules for instance in instances(rule)]
    numbers = {literal: 1 << i for i, literal in enumerate(universe)}
    code = lambda literals: sum(numbers[x] for x in literals)  # noqa: E731
    smallest, facts = (1 << len(universe)) - 1, code(set(theory.facts))
    rules = [(code(needed), numbers[conclusion]) for needed, conclusion in grounded]
    for held in range(1 << len(universe)):
        closed = all(held & needed != needed or held & conclusion for needed, conclusion in rules)
        if closed and held & facts == facts:
            smallest &= held
    assert code(theory.closure) == smallest


@pytest.mark.parametrize("seed", range(20))
def test_each_step_of_a_proof_follows_from_those_before_by_an_instance_of_a_rule(seed):
    theory = random_theory(np.random.default_rng(seed))
    grounded = [instance for rule in theory.rules for instance in instances(rule)]
    for goal, derived in theory.closure.items():
        known = set(theory.facts)
        proof = theory.proof(goal)
        assert bool(proof) == bool(derived.depth) and proof[-1:] in ([], [goal])
        for step in proof:
            assert any(step == conclusion and needed <= known for needed, conclusion in grounded)
            known.add(step)


@pytest.mark.parametrize("seed", range(20))
def test_with_one_condition_a_rule_no_shorter_chain_of_rules_proves_it(seed):
    theory = random_theory(np.random.default_rng(seed), conditions=1)
    follows = [
        (needed.pop(), conclusion)
        for rule in theory.rules
        for needed, conclusion in instances(rule)
    ]
    reached = set(theory.facts)
    for length in range(1, 6):
        further = {after for before, after in follows if before in reached}
        for literal in further - reached:
            assert len(theory.proof(literal)) == theory.closure[literal].depth == length
        reached |= further
    assert reached == set(theory.closure)


def test_a_negated_condition_needs_the_negation_to_be_known():
    """An open world: 'not red' is not known because 'red' is unknown."""
    rule = Rule((Literal("", "red", False),), Literal("", "big"))
    assert set(Theory([Literal("Ann", "cold")], [rule]).closure) == {Literal("Ann", "cold")}
    known = Theory([Literal("Ann", "red", False)], [rule]).closure
    assert Literal("Ann", "big") in known and Literal("Ann", "red").negation in known
