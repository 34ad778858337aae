"""Files of mathematics: the right answer is what the written solution boxes."""

import pytest

from expert_iter.errors import UserError
from expert_iter.tasks import load_task
from tests.tasks import made_up


def test_the_answer_is_in_whatever_box_the_solution_has(tmp_path):
    boxes = {
        "so \\boxed{x+1}.": "x+1",
        "so $\\boxed 2$.": "2",
        "so \\boxed9": "9",
        "so $\\boxed \\frac12$": "\\frac12",
        "so \\fbox{7} it is": "7",
        "first \\boxed{3}, then \\boxed{4}": "4",
    }
    rows = [{"problem": f"Question {i}?", "solution": text} for i, text in enumerate(boxes)]
    file = made_up.lines(tmp_path / "a.jsonl", rows)
    task = load_task("math", {"test_file": str(file)})
    assert [p.answer.answer for p in task.problems("test")] == list(boxes.values())
    assert all(task.verdict(p, p.answer.solution) for p in task.problems("test"))


@pytest.mark.parametrize("text", ["so \\boxed 18", "so \\boxed{18", "so 18"])
def test_a_row_whose_box_cannot_be_read_is_named(tmp_path, text):
    good = {"problem": "1?", "solution": "\\boxed{1}"}
    file = made_up.lines(tmp_path / "a.jsonl", [good, {"problem": "2?", "solution": text}])
    with pytest.raises(UserError, match="a.jsonl, line 2: "):
        load_task("math", {"test_file": str(file)}).problems("test")


@pytest.mark.parametrize("answer", [None, ["1"], {"value": 1}, True])
def test_an_answer_that_is_neither_text_nor_a_number_is_refused(tmp_path, answer):
    file = made_up.lines(tmp_path / "a.jsonl", [{"problem": "1?", "answer": answer}])
    with pytest.raises(UserError, match="a.jsonl, line 1: .*`answer`"):
        load_task("math", {"test_file": str(file)}).problems("test")
