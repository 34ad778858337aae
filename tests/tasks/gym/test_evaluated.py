"""Answers that scorers would run as Python are kept from them; formulas and lists are not."""

import pytest

from expert_iter.tasks.gym.evaluated import is_safe


@pytest.mark.parametrize(
    "answer",
    [
        "3*(4 + 5) - 6/2",
        "x**3/3 + C",
        "-x**9 + 7*x**7 + 9*x**4/2 + C",
        "x*asin(3*x) + sqrt(1 - 9*x**2)/3 + C",
        "2.5*x + .5",
        "log(Abs(x))\n",
        "",
    ],
)
def test_formulas_reach_sympy(answer):
    assert is_safe(answer, "simple_integration")


@pytest.mark.parametrize(
    "answer",
    [
        "__import__('os')",
        "S.__class__",
        "x.real",
        "x . real",
        "x._print(1)",
        "preview(x)",
        "eval(x)",
        "x[0]",
        "sympify('x')",
        'f"{x}"',
        "lambda: x",
        "x; y",
        "x = 3",
        "\uff58\uff3f",  # fullwidth letters, which Python reads as plain ones
        "0x1f",
        "1 if x else 2",
    ],
)
def test_other_python_does_not_reach_sympy(answer):
    assert not is_safe(answer, "countdown")


@pytest.mark.parametrize("dataset", ["string_insertion", "n_queens"])
def test_lists_reach_eval_and_calls_and_names_do_not(dataset):
    assert is_safe("[['Q', '_'], ['_', 'Q']]", dataset) and is_safe("_ Q\nQ _", dataset)
    assert is_safe("ABDAAE", dataset) and is_safe("1 0\n2 1", dataset)
    for answer in (
        "exit()",
        "A \n(1)",
        "entry['answer']",
        "\uff45ntry",
        "\uff45\uff4e\uff54\uff52\uff59",
    ):
        assert not is_safe(answer, dataset)


def test_scorers_that_evaluate_nothing_get_all_texts():
    assert is_safe("__import__('os')", "syllogism")
