"""An independent judge: the domain blocksworld-4ops as STRIPS, by sets of facts.

A state is a frozenset of facts such as ("on", "b", "a"). An action is its name with what must hold,
what it adds and what it deletes, as in the published domain file.
"""

import functools
import itertools


@functools.cache
def actions(blocks):
    """{words: (preconditions, added, deleted)} of every action, legal somewhere or not."""
    empty = ("handempty",)
    found = {}
    for x in blocks:
        clear, table, hand = ("clear", x), ("ontable", x), ("holding", x)
        found[f"pick up {x}"] = ({clear, table, empty}, {hand}, {clear, table, empty})
        found[f"put down {x}"] = ({hand}, {clear, table, empty}, {hand})
    for x, y in itertools.product(blocks, repeat=2):
        clear, below, hand, on = ("clear", x), ("clear", y), ("holding", x), ("on", x, y)
        found[f"stack {x} on {y}"] = ({below, hand}, {empty, clear, on}, {below, hand})
        found[f"unstack {x} from {y}"] = ({on, clear, empty}, {hand, below}, {on, clear, empty})
    return found


@functools.cache
def successors(facts, blocks):
    """{words: facts afterwards} of every legal action."""
    return {
        words: frozenset(facts - deleted | added)
        for words, (needed, added, deleted) in actions(blocks).items()
        if needed <= facts
    }


def distances(facts, blocks):
    """{facts: number of actions} of every state that can be reached, by breadth-first search."""
    found, frontier = {facts: 0}, [facts]
    for here in frontier:
        for after in successors(here, blocks).values():
            if after not in found:
                found[after] = found[here] + 1
                frontier.append(after)
    return found


def shortest_plan(facts, wanted, blocks):
    """The words of a shortest plan to a state with all wanted facts."""
    came_from, frontier = {facts: ()}, [facts]
    for here in frontier:
        if wanted <= here:
            return list(came_from[here])
        for words, after in successors(here, blocks).items():
            if after not in came_from:
                came_from[after] = (*came_from[here], words)
                frontier.append(after)


def reaches(facts, wanted, plan, blocks):
    """Whether every action is legal, and the wanted facts hold after the last, and not before."""
    for words in plan:
        if wanted <= facts or words not in successors(facts, blocks):
            return False
        facts = successors(facts, blocks)[words]
    return wanted <= facts


def facts_of(words):
    """The facts of a state as the task writes it: `state a b | c holding d`."""
    first, *rest = words.split(" ")
    assert first == "state"
    text = " ".join(rest)
    text, _, held = text.partition(" holding ")
    facts = {("holding", held)} if held else {("handempty",)}
    for tower in text.split(" | "):
        names = tower.split(" ")
        facts |= {("ontable", names[0]), ("clear", names[-1])}
        facts |= {("on", names[i + 1], names[i]) for i in range(len(names) - 1)}
    return frozenset(facts)


def goal_of(words):
    """The facts that a goal asks for: `c b | a d`."""
    towers = [tower.split(" ") for tower in words.split(" | ")]
    return {("on", t[i + 1], t[i]) for t in towers for i in range(len(t) - 1)}
