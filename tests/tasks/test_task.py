import dataclasses

import numpy as np
import pytest

from expert_iter.errors import UserError
from expert_iter.tasks import Question, load_task, task_settings


@pytest.fixture(scope="module", params=["countdown", "game24"])
def task(request):
    return load_task(request.param)


def test_a_question_holds_no_answer(task):
    problem = task.problems("test")[0]
    question = problem.question
    assert {field.name for field in dataclasses.fields(Question)} == {"id", "prompt", "begun"}
    assert (question.id, question.prompt) == (problem.id, problem.prompt)
    assert not hasattr(question, "answer") and set(vars(question)) == {"id", "prompt", "begun"}
    with pytest.raises(AttributeError):
        question.answer = problem.answer


def test_demonstration_is_legal_and_verdict_asks_for_the_target(task):
    rng = np.random.default_rng(0)
    right = 0
    for problem in task.problems("train")[:300]:
        play = task.demonstration(problem, rng)
        reached = play.rsplit(" ", 1)[1] == str(problem.answer.target)
        assert task.is_legal(problem, play)
        assert task.verdict(problem, play) == reached
        assert task.answer(problem.prompt, play) is not None
        assert not task.is_legal(problem, play + "\n") and not task.verdict(problem, play[:-1])
        right += reached
    assert 0 < right < 300


def test_answer_does_not_depend_on_the_target(task):
    play = "6 * 4 = 24 : 24"
    assert task.answer("4 6 -> 24\n", play) == task.answer("4 6 -> 23\n", play) == "(4*6)"
    assert task.answer("4 6 -> 24\n", "6 * 5 = 30 : 30") is None


def test_parse(task):
    for text in ("3 5 7 -> 15", " 3,5, 7 = 15 \n", "3 5 7->15"):
        problem = task.parse(text)
        assert problem.prompt == "3 5 7 -> 15\n" and problem.answer == ((3, 5, 7), 15)


@pytest.mark.parametrize(
    "text", ["", "->", "3 -> 3", "3 5 -> ", "3 5 -> 1 2", "a b -> 3", "3 5 - 2"]
)
def test_what_is_no_problem(task, text):
    with pytest.raises(UserError, match="is not a problem: .*write it like"):
        task.parse(text)


def test_a_missing_target():
    assert load_task("game24").parse("4 6 8 13").prompt == "4 6 8 13 -> 24\n"
    with pytest.raises(UserError, match="there is no target"):
        load_task("countdown").parse("3 5 7 15")


def test_sample_texts(task):
    texts = task.sample_texts(20, seed=1)
    assert len(texts) == 20 and texts == task.sample_texts(20, seed=1)
    assert texts != task.sample_texts(20, seed=2)
    assert {text.split("\n")[0] + "\n" for text in texts} <= {
        problem.prompt for problem in task.problems("train")
    }


def test_load_task():
    assert load_task("countdown", {"numbers": 4}).config == task_settings("countdown")(numbers=4)
    with pytest.raises(UserError, match="'countdwn': did you mean countdown"):
        task_settings("countdwn")
    with pytest.raises(UserError, match="'train_sise': did you mean train_size"):
        load_task("countdown", {"train_sise": 1})
    with pytest.raises(UserError, match="task.numbers='3' must be of type int"):
        load_task("countdown", {"numbers": "3"})
    with pytest.raises(UserError, match="task.numbers=True must be of type int"):
        load_task("countdown", {"numbers": True})
    assert load_task("game24", {"curriculum_share": 1, "fractions": False})


def test_an_unknown_split(task):
    with pytest.raises(UserError, match="train, validation, test"):
        task.problems("dev")
