"""The judge of text tasks: answers by their text, code by running its tests in the sandbox."""

import ast
import warnings

from expert_iter.tasks.code import unit_tests as code_tests
from expert_iter.tasks.code.unit_tests import CodeTests
from expert_iter.tasks.words import answers
from expert_iter.tasks.words.rows import CODE

MOST_CHARACTERS = 20_000  # of code that is parsed here; what it does is the sandbox's affair


def right(gold: str | CodeTests, solution: str, kind: str) -> bool:
    """Whether the solution's final answer is `gold`, or its code passes the tests `gold`.

    Raises UserError where code cannot be contained on this machine.
    """
    if kind == CODE:
        return code_tests.passes(code_tests.code_of(solution), gold)
    return answers.agrees(gold, solution, kind)


def proposal(solution: str, kind: str) -> str | None:
    """What it proposes, for a majority vote: equal proposals give equal strings.

    Of code, programs that differ in layout and comments alone are equal. None if there is no
    answer, or the code does not parse.
    """
    if kind != CODE:
        return answers.proposed(solution, kind)
    code = code_tests.code_of(solution)
    # A function's body without its head, as HumanEval asks for, parses below a head of any kind.
    tree = _parsed(code) or _parsed(f"if True:\n{code}")
    if tree is None:
        return None
    try:
        return ast.unparse(tree) or None
    except RecursionError:
        return None


def readable(gold: str | CodeTests | None, solution: str, kind: str) -> bool:
    """Whether there is a final answer, or the code parses (below the head that `gold` gives)."""
    if kind == CODE and isinstance(gold, CodeTests):
        code = code_tests.code_of(solution)
        return bool(code.strip()) and _parsed(gold.prefix + code) is not None
    return proposal(solution, kind) is not None


def _parsed(code: str) -> ast.Module | None:
    if len(code) > MOST_CHARACTERS:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as one for an odd escape in a string
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
