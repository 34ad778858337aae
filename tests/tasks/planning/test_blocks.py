"""The rules, against STRIPS, in every state of a few blocks."""

import pytest

from expert_iter.tasks.planning import blocks
from expert_iter.tasks.planning.blocks import Instance, State
from tests.tasks.planning import strips


def every_state(names):
    """All states, by walking over legal moves from blocks on the table."""
    found = {State(tuple(names)): None}
    frontier = list(found)
    for state in frontier:
        new = [after for after in blocks.successors(state).values() if after not in found]
        found |= dict.fromkeys(new)
        frontier += new
    return frontier


@pytest.mark.parametrize(("names", "count"), [("ab", 3 + 2), ("abc", 13 + 9), ("abcd", 73 + 52)])
def test_moves_and_states_are_those_of_strips(names, count):
    # n blocks make 1, 3, 13, 73, … states with an empty hand (OEIS A000262), and n times as many
    # as n - 1 blocks with a full one.
    states = every_state(names)
    assert len(states) == count
    for state in states:
        facts = strips.facts_of(blocks.state_text(state))
        after = {move: blocks.state_text(s) for move, s in blocks.successors(state).items()}
        assert {move: strips.facts_of(s) for move, s in after.items()} == strips.successors(
            facts, names
        )


def test_a_goal_holds_where_its_facts_do():
    states = every_state("abcd")
    goals = ["a b", "b a", "a b c", "a b | c d", "d c b a"]
    for goal in goals:
        parts = tuple(part.replace(" ", "") for part in goal.split(" | "))
        held = [strips.goal_of(goal) <= strips.facts_of(blocks.state_text(s)) for s in states]
        assert [blocks.goal_holds(state, parts) for state in states] == held
        assert 0 < sum(held) < len(states)


def test_a_state_is_read_as_it_is_written_and_each_has_one_text():
    texts = [blocks.state_text(state) for state in every_state("abcd")]
    assert [blocks.state_text(blocks.read_state(text)) for text in texts] == texts
    assert len(set(texts)) == len(texts)
    assert blocks.state_text(State(("ab", "d"), "c")) == "state a b | d holding c"


def test_the_order_of_towers_does_not_count():
    one = blocks.read_instance("state c d | b a goal b c | d a")
    other = blocks.read_instance(" state  b a|c d goal d a  | b c\n")
    assert one == other == Instance(State(("ba", "cd")), ("bc", "da"))
    assert blocks.prompt(one) == "state b a | c d goal b c | d a\n"


def test_a_play_ends_where_the_goal_holds():
    instance = blocks.read_instance("state a b | c goal c b")
    moves = ["unstack b from a", "stack b on c"]
    text = "unstack b from a\nstate a | c holding b\nstack b on c\nstate a | c b"
    assert blocks.play(instance, moves) == (text, True)
    assert blocks.play(instance, moves[:1]) == (text[: text.index("stack b on")], False)
    assert blocks.play(instance, [*moves, "pick up a"]) is None
    assert blocks.play(instance, moves[1:]) is None
