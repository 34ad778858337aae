"""Answers are scored by verdicts, as many as there are different texts, and by the rules alone."""

from concurrent.futures import Future

import numpy as np
import pytest

from expert_iter.measure.evaluator import Answers
from expert_iter.measure.scores import legal_share, scored
from expert_iter.search.bill import Bill
from expert_iter.tasks import Problem

PROBLEMS = [Problem(name, f"{name}?", name) for name in "abc"]
BILL = Bill(np.array([3.0, 6.0, 9.0]), np.full(3, 2.0), np.zeros(3), np.full(3, 10.0))


def answers(texts, budget=1, **more):
    return Answers("samples", "best", budget, texts, BILL, 0.5, **more)


class Verifier:
    """Right is the problem's name. Notes what it is asked, and when its verdicts are taken."""

    def __init__(self):
        self.events = []

    def submit(self, problems, solutions):
        pairs = list(zip(problems, solutions, strict=True))
        self.events.append([(problem.id, text) for problem, text in pairs])
        events, verdicts = self.events, [text == problem.answer for problem, text in pairs]

        class Taken(Future):
            def result(self):
                events.append("taken")
                return verdicts

        return Taken()


def test_legal_is_what_keeps_to_the_rules_right_or_not():
    legal = lambda problem, text: text != f"{problem.id}!"  # noqa: E731
    assert legal_share(legal, PROBLEMS, answers(["a", "wrong", "c!"])) == pytest.approx(2 / 3)
    assert legal_share(legal, PROBLEMS, answers(["a", None, None])) == pytest.approx(1 / 3)


def test_scores_are_counted_by_hand():
    verifier = Verifier()
    one = answers(["a", None, "b"], budget=4)
    [row] = scored(verifier, PROBLEMS, [one])
    assert verifier.events[0] == [("a", "a"), ("b", None), ("c", "b")]
    assert row.pop("low") < 1 / 3 < row.pop("high")
    assert row == {
        "method": one.method,
        "budget": 4,
        "accuracy": 1 / 3,
        "tokens": 6.0,
        "prefill_tokens": 2.0,
        "flops": 10.0,
        "seconds": 0.5,
        "problems": 3,
        "correct": "100",
    }


def test_the_oracle_needs_one_right_text_and_asks_about_each_once():
    verifier = Verifier()
    texts = [["x", "a", "x"], [], ["c", "c"]]
    [row] = scored(verifier, PROBLEMS, [answers([None] * 3, candidates=texts)])
    assert verifier.events[0] == [("a", "x"), ("a", "a"), ("c", "c")]
    assert row["correct"] == "101"


def test_the_next_method_searches_while_verdicts_are_given():
    verifier = Verifier()

    def play():
        for budget in (1, 2):
            verifier.events.append(f"search {budget}")
            yield answers(["a", "b", "c"], budget)

    rows = list(scored(verifier, PROBLEMS, play()))
    events = [event for event in verifier.events if isinstance(event, str)]
    assert events == ["search 1", "search 2", "taken", "taken"]
    assert [row["budget"] for row in rows] == [1, 2]
