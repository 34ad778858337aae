"""Which part of a solution is its program."""

import time

import pytest

from expert_iter.tasks.code.blocks import MOST_CHARACTERS, code_of, parse_program

F = "def f(x):\n    return x + 1\n"
G = "def f(x):\n    return x + 2\n"
BODY = "    return x + 1\n"


def fenced(code: str, info: str = "python", fence: str = "```") -> str:
    return f"{fence}{info}\n{code}{fence}\n"


def indented(text: str, margin: str) -> str:
    return "".join(margin + line for line in text.splitlines(keepends=True))


@pytest.mark.parametrize(
    "solution",
    ["", "def f(): pass", BODY, fenced("1\n", "text"), "It is 3.", fenced("x = 1;\n", "js")],
)
def test_without_a_block_of_python_the_whole_is_the_program(solution):
    assert code_of(solution) == solution


@pytest.mark.parametrize(
    "info",
    [
        *("python", "Python", "PYTHON", "py", "python3", "python3.11", " python", "python ", "py3"),
        *("{.python}", "{.python .numberLines}", "{python}", 'python title="f.py"', "python,f"),
        *("ipython", "python:f.py", "python\t", "python {linenos=true}", ""),
    ],
)
def test_fences_that_name_python(info):
    assert code_of(f"Here:\n{fenced(F, info)}Done.") == F
    # And they go before an output that comes after, unless they name nothing.
    assert code_of(fenced(F, info) + fenced("def 3\n", "")) == ("def 3\n" if info == "" else F)


@pytest.mark.parametrize(
    "info", ["pycon", "python-repl", "text", "bash", "pytb", "cython", "java", "PyPy", "{.output}"]
)
def test_fences_that_name_something_else(info):
    assert code_of(fenced(F) + fenced(G, info)) == F
    assert code_of(fenced(G, info) + fenced(F, "")) == F


def test_an_inline_fence_opens_nothing():
    assert code_of(f"Use ```x = 1``` so:\n```x = 2```\n{fenced(F)}") == F


def test_of_equal_blocks_the_last_is_the_program():
    assert code_of(fenced(F) + "Better:\n" + fenced(G)) == G
    assert code_of(fenced("x = 1\n") + fenced("x = 2\n")) == "x = 2\n"


@pytest.mark.parametrize(
    "after",
    [
        fenced("2\n", ""),  # what it prints
        fenced("def f(x): ...\n", ""),
        fenced("2\n", "text"),
        fenced("print(f(1))\n"),  # how it is used
        fenced(">>> f(1)\n2\n"),
        fenced("\n>>> def f(x):\n...     pass\n"),
        fenced("$ python f.py\n", "bash"),
        fenced(""),
        "```python\ndef f(x):\n",  # cut off
        "```python",
        "```",
    ],
)
def test_what_follows_the_program_does_not_replace_it(after):
    assert code_of(f"{fenced(F)}So:\n{after}") == F


def test_without_a_language_too_what_it_prints_is_not_the_program():
    assert code_of(fenced(F, "") + fenced("[1, 2]\n", "")) == F
    assert code_of(fenced("f = lambda x: x\n", "") + fenced("[1, 2]\n", "")) == "f = lambda x: x\n"
    assert code_of(fenced(BODY, "") + fenced("[1, 2]\n", "")) == BODY


def test_a_block_that_is_not_closed_counts_where_no_other_does():
    assert code_of(f"I think\n```python\n{F}") == F
    assert code_of(f"```\n{F}") == F
    assert code_of(fenced("1\n", "") + f"```python\n{F}") == F
    assert code_of(fenced("print(f(1))\n") + f"```python\n{F}") == F
    assert code_of("```python") == code_of("```python\n```") == ""


@pytest.mark.parametrize("fence", ["```", "````", "~~~", "~~~~~"])
def test_a_block_ends_at_a_fence_of_its_kind_and_length(fence):
    code = F + "X = '''\n```\n~~~\n'''\n"
    assert code_of(fenced(F, fence=fence) + "Done.") == F
    assert code_of(f"{fence}python\n{F}{fence}{fence[0]}  \nDone.") == F
    assert code_of(fenced(code, fence=fence)) == code
    assert code_of(f"{fence}python\n{F}{fence[1:]}\n") == f"{F}{fence[1:]}\n"
    assert code_of(f"{fence}markdown\n{fenced(G, fence=fence[1:])}{fence}\n{fenced(F)}") == F


FENCED_DOCSTRINGS = [
    'def f(x):\n    """Adds.\n\n    ```\n    f(1)\n    ```\n    """\n    return x + 1\n',
    'def f(x):\n  """\n  ```python\n  f(1)\n  ```\n  """\n  return x + 1\n',
    "'''\n```python\nf(1)\n```\n'''\ndef f(x):\n    return x + 1\n",
    'def f(x):\n    """\n```\n```\n\n```\n```\n"""\n    return x + 1\n',
    '    """\n```\nf(1)\n```\n"""\n    return x + 1\n',
]


@pytest.mark.parametrize("code", FENCED_DOCSTRINGS)
def test_a_fence_in_a_string_of_the_program_does_not_end_it(code):
    assert code_of(code) == code
    assert code_of(fenced(code)) == code
    assert code_of(fenced(code) + "Output:\n" + fenced("2\n", "")) == code
    assert code_of(fenced(G) + fenced(code, "")[:-4]) == G
    assert code_of(f"So:\n```python\n{code}") == code


def test_a_string_without_end_does_not_swallow_the_next_block():
    broken = 'def f(x):\n    """Adds.\n    return x + 1\n'
    fixed = 'def f(x):\n    """Adds."""\n    return x + 1\n'
    assert code_of(fenced(broken)) == broken
    assert code_of(fenced(broken) + "I forgot the quotes:\n" + fenced(fixed)) == fixed
    assert code_of(fenced(broken) + 'I forgot the `"""`:\n' + fenced(fixed)) == fixed


@pytest.mark.parametrize(
    "margin", [" ", "   ", "    ", "\t", "        ", "> ", ">", "> > ", ">   "]
)
def test_code_loses_the_margin_of_its_fence(margin):
    code = 'def f(x):\n    if x:\n\n        return """\n  y"""\n\treturn 1\n'
    assert code_of("So:\n" + indented(fenced(code), margin) + "Done.") == code
    assert code_of("So:\n" + indented(f"```python\n{code}", margin)) == code


@pytest.mark.parametrize("item", ["1. ", "- ", "10) ", "*   ", "+ - "])
def test_code_loses_the_margin_of_its_list_item(item):
    block = indented(fenced(F), " " * len(item))
    assert code_of(item + block.lstrip() + "Done.") == F
    assert code_of(f"{item}Add one.\n\n{block}\nDone.") == F


def test_code_left_of_its_fence_keeps_its_shape():
    assert code_of(f"    ```python\n{F}    ```\n") == F
    assert code_of(f"1. ```python\n{F}```\n") == F


def test_a_block_ends_with_its_quotation():
    assert code_of(f"> ```python\n{indented(F, '> ')}That is all.\n") == F
    assert code_of(f"> ```python\n{indented(G, '> ')}{fenced(F)}") == F


def test_line_ends_of_either_kind():
    windows = F.replace("\n", "\r\n")
    assert code_of(fenced(F).replace("\n", "\r\n")) == windows
    assert code_of("  " + fenced(F, "", "~~~").replace("\n", "\r\n")) == windows
    # No other character ends a line.
    assert code_of(fenced('x = "\x0c\u2028"\n')) == 'x = "\x0c\u2028"\n'


@pytest.mark.parametrize(
    "solution",
    [
        "```py\n'''\n```\n" * 7000,
        "> " * 50_000 + "```",
        "- " * 50_000 + "```",
        "`" * 100_000,
        "```py\n" * 20_000,
        "".join(fenced("'''\n", fence="`" * n) for n in range(400, 3, -1)),
        "```py\n'''" + "(" * 19_000 + "\n```\n'''\n```\n",
        '"""' + "x" * 2 * MOST_CHARACTERS + '"""\n' + fenced("x"),
    ],
)
def test_no_text_takes_long(solution):
    start = time.process_time()
    code_of(solution)
    assert time.process_time() - start < 5


def test_code_that_is_too_long_to_parse_ends_at_its_first_fence():
    long = 'def f(x):\n    """\n```\n```\n"""\n' + "    x += 1\n" * (MOST_CHARACTERS // 10)
    assert parse_program(long) is None
    assert code_of(fenced(long)) == 'def f(x):\n    """\n'
