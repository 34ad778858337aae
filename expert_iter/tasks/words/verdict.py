"""Verdicts of text tasks: compares final answers, or runs the tests of code in the sandbox."""

import ast

from expert_iter.tasks.code import unit_tests as code_tests
from expert_iter.tasks.code.blocks import code_of, parse, parse_program
from expert_iter.tasks.code.unit_tests import CodeTests
from expert_iter.tasks.words import answers
from expert_iter.tasks.words.rows import CODE


def is_right(gold: str | CodeTests, solution: str, kind: str) -> bool:
    """Whether the solution's final answer is `gold`, or its code passes the tests `gold`.

    Args:
      gold: the right answer, or the tests.
      solution: a finished solution.
      kind: one of `answers.ANSWER_TYPES`, or `CODE`.

    Raises:
      UserError: this machine has no sandbox for code.
    """
    if kind == CODE:
        return code_tests.passes(code_of(solution), gold)
    return answers.agrees(gold, solution, kind)


def proposal(solution: str, kind: str) -> str | None:
    """The final answer, or the program, for a majority vote: equal proposals are equal strings.

    Programs that differ only in layout and comments are equal. None if there is no final answer, or
    the code does not parse.
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
    """Whether there is a final answer, or the code parses after the prefix in `gold`."""
    if kind == CODE and isinstance(gold, CodeTests):
        code = code_of(solution)
        return bool(code.strip()) and parse(gold.prefix + code) is not None
    return proposal(solution, kind) is not None
