"""Lengths of shortest plans, against breadth-first search over sets of facts."""

import itertools
import json

import numpy as np
import pytest

from expert_iter.tasks.planning import blocks
from expert_iter.tasks.planning.pddl import read_pddl
from expert_iter.tasks.planning.plan_length import plan_length
from tests.tasks.planning import instances, strips
from tests.tasks.planning.test_blocks import every_state


def goals_of(names):
    """Every goal that a state can have, as (parts of towers, facts)."""
    for state in every_state(names):
        towers = [tower for tower in state.towers if len(tower) > 1]
        if towers:
            words = " | ".join(" ".join(tower) for tower in towers)
            yield tuple(towers), strips.goal_of(words)


def check(names, states, goals):
    for state in states:
        found = strips.distances(strips.facts_of(blocks.state_text(state)), names)
        for parts, wanted in goals:
            nearest = min(n for facts, n in found.items() if wanted <= facts)
            assert plan_length(state, parts) == nearest, (state, parts)


def test_every_state_and_goal_of_three_blocks():
    check("abc", every_state("abc"), list(goals_of("abc")))


def test_every_state_of_four_blocks_with_every_seventh_goal():
    check("abcd", every_state("abcd"), list(itertools.islice(goals_of("abcd"), 0, None, 7)))


@pytest.mark.parametrize(("names", "drawn"), [("abcde", 12), ("abcdef", 2)])
def test_some_states_and_goals_of_more_blocks(names, drawn):
    rng = np.random.default_rng(0)
    states, goals = every_state(names), list(goals_of(names))
    check(
        names,
        [states[i] for i in rng.integers(len(states), size=drawn)],
        [goals[i] for i in rng.integers(len(goals), size=drawn)],
    )


def test_towers_that_block_each_other_cost_a_move_more():
    # Sussman's anomaly, by hand: c off a, b on c or the table … six moves in all.
    assert plan_length(blocks.State(("ac", "b")), ("cba",)) == 6
    # b on a and d on c, to be a on b and c on d: both upper blocks go to the table.
    assert plan_length(blocks.State(("ab", "cd")), ("ba", "dc")) == 8
    assert plan_length(blocks.State(("ab",)), ("ab",)) == 0


def test_fifteen_blocks_turned_over():
    tower = "abcdefghijklmno"
    # Each is taken once: the upper one goes to the table, each other one on the one before.
    assert plan_length(blocks.State((tower,)), (tower[::-1],)) == 2 * 15


@pytest.mark.parametrize("name", ["planbench_basic_3", "planbench_basic_first"])
def test_published_instances(name):
    for line in instances.published(name).read_text().splitlines():
        instance = read_pddl(json.loads(line)["pddl"])
        names = "".join(sorted("".join(instance.start.towers)))
        start, goal = blocks.prompt(instance).strip().split(" goal ")
        plan = strips.shortest_plan(strips.facts_of(start), strips.goal_of(goal), names)
        assert plan_length(*instance) == len(plan)
