"""Mathematical answers: equal to what they are equal to by hand, and to nothing that is near."""

import re
import threading

import pytest

from expert_iter.tasks.words.answers import agrees, check_gold, proposed

M = "\\begin{pmatrix}1 & 2\\\\3 & 4\\end{pmatrix}"
MATH = [
    # The right answer, a solution, whether they agree, by hand.
    ("\\frac{1}{2}", "so \\boxed{0.5}", True),
    ("\\frac{1}{2}", "\\boxed{\\dfrac12}", True),
    ("1,234", "\\boxed{1234}", True),
    ("x^2-1", "\\boxed{(x-1)(x+1)}", True),
    ("2\\sqrt{3}", "The answer is $\\sqrt{12}$.", True),
    ("2\\sqrt{3}", "\\sqrt{12}", True),
    ("5", "\\boxed{x = 5}", True),
    ("\\left(3, 4\\right)", "\\boxed{(3,4)}", True),
    ("\\{1, 2\\}", "\\boxed{\\{2, 1\\}}", True),
    ("\\text{Monday}", "\\boxed{\\text{Monday}}", True),
    ("\\text{Monday}", "\\boxed{\\text{Tuesday}}", False),
    ("(3,4)", "\\boxed{[3,4]}", False),
    ("12", "\\boxed{1 2}", False),
    ("5", "\\boxed{5 \\text{ or } 6}", False),
    ("5", "\\boxed{-5}", False),
    ("x", "\\boxed{y}", False),
    ("5", "\\boxed{5", False),
    ("5", "\\boxed{{5}", False),
    ("5", "\\boxed{\\frac{}{}}", False),
    ("5", "\\boxed{" + "(" * 200 + "}", False),
    ("5", "\\boxed{" + "5+" * 1000 + "}", False),
    ("5", "", False),
    # Where the expression stands.
    ("x+1", "The answer is $x+1.$", True),
    ("x+1", "Thus we get \\(x+1,\\)", True),
    ("x+1", "It is at least $x+1$", False),
    ("x+1", "It is $x$ or $x+1$", False),
    ("18", "We add.\nThe answer is\n\\[\n18\n\\]", True),
    ("18", "So\n$$x = 18.$$", True),
    ("18", "The answer is\n\\begin{align*}\nx &= 9 + 9 \\\\\n&= 18\n\\end{align*}", True),
    ("18", "\\[\\begin{aligned} x &= 3 \\\\ y &= 18 \\end{aligned}\\]", True),
    ("3", "\\[\\begin{aligned} x &= 3 \\\\ y &= 18 \\end{aligned}\\]", False),
    ("18", "####\n```\n18\n```", True),
    (M, f"The answer is\n$$\n{M}\n$$", True),
    ("\\frac34", "so $\\boxed \\frac34$ it is", True),
    ("\\sqrt{7}", "\\boxed\\sqrt7", True),
    ("\\pi", "\\fbox{$\\pi$}", True),
    ("5", "So the answer is 5.\nI checked: 4 + 1 = 5, so the answer is right.", True),
    ("\\text{Caf\u00e9}", "\\boxed{\\text{Cafe\u0301}}", True),
]

# Right answers, and what is none of them although it is near: a plain 5 in what does not parse, a
# bound, letters and words after a number, another base, a prime, a number too small to see.
NEAR = {
    "5": r"""
        \ne 5 | < 5 | \leq 5 | \geq 5 | \approx 5.2 | x > 5 | \pm 5 | 5 \pm 1 | 5~8 | 5 8 | 5^ | 5_
        5\sqrt(2) | \prod 5 | \int 5 | \lim 5 | 5 \cdot | 5 + | \frac 5 | \frac{5}{}
        2 \bar 4 \bar 5 | 5 - \frac{1}{\mathrm{e}} | \emptyset 5 | 5) | (5 | 5?
        5\% \% | 5‰ | 5 \mod 3 | 5! | 5t | 5m | 5s | 5x | 5\pi | 5i | 5^2 | 5'
        5\ldots | 5.\overline{3} | 5.\dot{3} | 5...
        5 \text{ or } 6 | 5 \text{ is wrong} | \text{not } 5 | \text{at least } 5
        5 \text{ squared} | 5 \text{ million} | 5 million | 5\text{ dozen}
        5\text{ ft } 8\text{ in} | \text{ten } 5 | \{5, 6\}
        (5, 6) | 5, 6 | 5 \to 6 | 5 \Rightarrow 6 | 5 = 6 | 5:30 | 5 & 6
        5.0001 | 4.9999 | 5{,}000 | 5\frac12 | -5 | +-5 | 15 | 5_8 | 5e3 | \binom{5}{2}""",
    "34_7": r"34_8 | 34_{8} | 34 | 34^7 | 35_7 | 25 | (34)_8",
    "34": r"34_7 | 34_{7} | 34_{\text{seven}}",
    "1011_2": r"1011_3 | 1011 | 1011_{20}",
    "A1_{16}": r"A1_{12} | A1 | 161",
    "f(x)": r"f'(x) | f''(x) | f^{\prime}(x) | g(x) | F(x)",
    "f'(x)": r"f(x) | f''(x)",
    "x": r"X | x' | x_1 | \dot{x} | \vec{x} | -x",
    r"\frac{1}{3^{60}}": r"-\frac{1}{3^{60}} | \frac{2}{3^{60}} | 3^{-61} | 0",
    r"1 + 2^{-70}": r"1 | 1 - 2^{-70}",
    r"\frac{x}{3^{60}}": r"-\frac{x}{3^{60}} | 0 | \frac{x}{3^{61}}",
    "0.00000003": "0.00000004 | -0.00000003 | 0 | 3 \\times 10^{-9}",
    "(0.00000003, 1)": "(0.00000004, 1) | (0, 1)",
    "e^{-60}": "e^{-61} | 0",
    r"\frac{1}{90!}": r"\frac{2}{90!} | 0",
    "(3, 4)": r"\{3, 4\} | [3, 4] | (4, 3) | (3, 4, 5)",
    r"\{3, 4\}": "(3, 4) | 3 | 34",
    "6:30": r"\frac15 | 630 | 6 | 6:31 | 6:30\text{ p.m.}",
    "x = 5": "y = 5 | x = 6 | x > 5",
    "x > 5": r"5 | x \ge 5 | x < 5",
    r"\text{Monday}": r"\text{Monday}\text{Tuesday} | \text{not Monday}",
}
# Other spellings of the same answers.
SAME = {
    "5": r"""
        5.0 | \frac{10}{2} | 10/2 | (5) | +5 | x = 5 | 2 + 3 = 5 | \sqrt{25} | |-5|
        \lfloor 5.5 \rfloor | 5\text{ cm} | 5 \text{ square units} | 5\,\text{cm}^2 | 5\ \mathrm{kg}
        5~\mbox{in}^{3} | 5 cm | 5 dollars | \$5 | 5\% | 5^\circ | 5 \text{ percent}
        \mathbf{5} | \boldsymbol{5} | 5, | \text{5}""",
    r"5\text{ cm}": r"5 | 5 \text{ cm}",
    r"7\text{ million}": r"7{,}000{,}000 | 7 \times 10^6",
    "34_7": r"34_{7} | 34_7. | 34\,_7",
    "f'(x)": r"f'( x ) | f^{\prime}(x)",
    r"\frac{1}{3^{60}}": r"3^{-60} | \frac{3}{3^{61}}",
    "0.00000003": r"3 \times 10^{-8} | \frac{3}{100000000}",
    r"\frac13": "0.333333 | 0.33333333 | 1/3",
    r"\frac{1}{90}": "0.0111111 | 0.011111",
    "50\\%": r"50 | \frac12 | 0.5",
    "1, 2": r"2, 1 | \{1, 2\} | 1 \text{ and } 2",
    "6:30": "6:30 | 6:30.",
    "x > 5": "x>5 | 5 < x",
    r"2\pi": r"\pi \cdot 2 | 2 \pi \text{ cm}",
    r"3+4i": "4i + 3",
    r"\text{yes}": r"\text{Yes} | \text{ yes }",
}


def _pairs(table):
    return [
        (gold, answer.strip())
        for gold, answers in table.items()
        for answer in re.split(r" \| |\n", answers.strip())
    ]


@pytest.mark.parametrize(("gold", "solution", "same"), MATH, ids=lambda value: repr(value)[:40])
def test_math(gold, solution, same):
    check_gold(gold, "math")
    assert agrees(gold, solution, "math") == same


@pytest.mark.parametrize(("gold", "answer"), _pairs(NEAR))
def test_what_is_near_an_answer_is_wrong(gold, answer):
    check_gold(gold, "math")
    assert not agrees(gold, f"\\boxed{{{answer}}}", "math")


@pytest.mark.parametrize(("gold", "answer"), _pairs(SAME))
def test_another_spelling_of_an_answer_is_right(gold, answer):
    check_gold(gold, "math")
    assert agrees(gold, f"\\boxed{{{answer}}}", "math")


def test_math_outside_the_main_thread():
    verdicts = []

    def judge():
        verdicts.append(agrees("x^2-1", "\\boxed{(x-1)(x+1)}", "math"))
        verdicts.append(agrees("x^2-1", "\\boxed{(x-1)(x+2)}", "math"))

    thread = threading.Thread(target=judge)
    thread.start()
    thread.join()
    assert verdicts == [True, False]


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("\\boxed{0.5}", "#### $\\frac{1}{2}$", True),
        ("\\boxed{\\left( 3,\\, 4 \\right)}", "\\boxed{(3,4)}", True),
        ("\\boxed{\\dfrac{x}{2}}", "The answer is $\\frac{x}{2}$.", True),
        ("\\boxed{1 2}", "\\boxed{12}", False),
        ("\\boxed{x}", "\\boxed{X}", False),
    ],
)
def test_math_votes(first, second, same):
    assert (proposed(first, "math") == proposed(second, "math")) == same
