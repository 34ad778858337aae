"""Reads instances of the blocks world that are written in PDDL, as PlanBench's are.

Valmeekam et al. 2023 (PlanBench, arXiv 2206.10498), domain blocksworld-4ops.
"""

import re
from typing import Any

from expert_iter.tasks.planning.blocks import BLOCKS, Instance, State, make_instance, make_state

Fact = tuple[str, ...]  # ("on", "b", "a"): b is on a


def read_pddl(text: str) -> Instance:
    """Reads `(define (problem …) (:objects …) (:init …) (:goal …))`.

    Blocks are letters from a to z, the hand is empty, and the goal says what is on what.

    Raises:
      ValueError: with the reason, for any other text.
    """
    sections = {part[0]: part[1:] for part in _expression(text) if _begins_with_a_word(part)}
    for name in (":objects", ":init", ":goal"):
        if name not in sections:
            raise ValueError(f"the instance has no {name}")
    blocks = sections[":objects"]
    for block in blocks:
        if block not in list(BLOCKS):
            raise ValueError(f"the object {block!r} is not a letter from a to z")
        if blocks.count(block) > 1:
            raise ValueError(f"the object {block} is there twice")
    given = _facts(sections[":init"], blocks)
    start = make_state(_towers(blocks, given))
    if _facts_of(start) != given:
        raise ValueError("the facts of :init do not describe a state with an empty hand")
    wanted = sections[":goal"]
    if len(wanted) == 1 and _begins_with_a_word(wanted[0]) and wanted[0][0] == "and":
        wanted = wanted[0][1:]
    wanted = _facts(wanted, blocks)
    for fact in wanted:
        if fact[0] != "on":
            raise ValueError(f"the goal has ({' '.join(fact)}), but only (on …) is known there")
    return make_instance(start, [part for part in _towers(blocks, wanted) if len(part) > 1])


def _expression(text: str) -> list[Any]:
    """A bracketed expression as nested lists of words, in lower case."""
    open_lists: list[list[Any]] = [[]]
    for word in re.findall(r"[()]|[^\s()]+", re.sub(";.*", "", text.lower())):
        if word == "(":
            open_lists.append([])
        elif word != ")":
            open_lists[-1].append(word)
        elif len(open_lists) > 1:
            done = open_lists.pop()
            open_lists[-1].append(done)
        else:
            raise ValueError("a bracket closes that was not opened")
    if len(open_lists) > 1:
        raise ValueError("a bracket is not closed")
    [top] = open_lists
    if len(top) != 1 or not isinstance(top[0], list) or top[0][:1] != ["define"]:
        raise ValueError("it is not one (define …)")
    return top[0]


def _begins_with_a_word(part: Any) -> bool:
    return isinstance(part, list) and bool(part) and isinstance(part[0], str)


def _facts(parts: list[Any], blocks: list[str]) -> set[Fact]:
    arguments = {"on": 2, "ontable": 1, "clear": 1, "handempty": 0}
    for part in parts:
        known = _begins_with_a_word(part) and arguments.get(part[0]) == len(part) - 1
        if not known or not all(block in blocks for block in part[1:]):
            raise ValueError(
                "a fact is none of (on x y), (ontable x), (clear x) and (handempty) for objects"
            )
    return set(map(tuple, parts))


def _towers(blocks: list[str], facts: set[Fact]) -> list[str]:
    """The towers of all blocks, by the facts `on`. Raises ValueError if these make no towers."""
    pairs = [fact[1:] for fact in facts if fact[0] == "on"]
    carried = {lower: upper for upper, lower in pairs}
    placed = {upper for upper, _ in pairs}
    if len(carried) < len(pairs) or len(placed) < len(pairs):
        raise ValueError("two blocks are on one, or one is on two")
    towers = []
    for bottom in blocks:
        if bottom not in placed:
            tower = bottom
            while tower[-1] in carried:
                tower += carried[tower[-1]]
            towers.append(tower)
    if len("".join(towers)) < len(blocks):
        raise ValueError("blocks stand on each other in a circle")
    return towers


def _facts_of(state: State) -> set[Fact]:
    facts = {("handempty",)}
    for tower in state.towers:
        facts |= {("ontable", tower[0]), ("clear", tower[-1])}
        facts |= {("on", *pair) for pair in zip(tower[1:], tower, strict=False)}
    return facts
