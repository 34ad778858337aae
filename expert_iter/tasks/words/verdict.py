"""The judge of text tasks: answers by their text, code by running its tests in the sandbox."""

import ast

from expert_iter.tasks.code import unit_tests as code_tests
from expert_iter.tasks.code.blocks import code_of, parse, parse_program
from expert_iter.tasks.code.unit_tests import CodeTests
from expert_iter.tasks.words import answers
from expert_iter.tasks.words.rows import CODE


def is_right(gold: str | CodeTests, solution: str, kind: str) -> bool:
    """Whether the solution's final answer is `gold`, or its code passes the tests `gold`.

    Raises UserError where code cannot be contained on this machine.
    """
    if kind == CODE:
        return code_tests.passes(code_of(solution), gold)
    return answers.agrees(gold, solution, kind)


def proposal(solution: str, kind: str) -> str | None:
    """What it proposes, for a majority vote: equal proposals give equal strings.

    Of code, programs that differ in layout and comments alone are equal. None if there is no
    answer, or the code does not parse.
    """
    if kind != CODE:
        return answers.proposed(solution, kind)
    tree = parse_program(code_of(solution))
    if tree is None:
        return None
    try:
        return ast.unparse(tree) or None
    except RecursionError:
        return None


def is_readable(gold: str | CodeTests | None, solution: str, kind: str) -> bool:
    """Whether there is a final answer, or the code parses (below the head that `gold` gives)."""
    if kind == CODE and isinstance(gold, CodeTests):
        code = code_of(solution)
        return bool(code.strip()) and parse(gold.prefix + code) is not None
    return proposal(solution, kind) is not None
