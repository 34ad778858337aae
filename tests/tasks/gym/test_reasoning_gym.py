"""Problems and verdicts of reasoning-gym; most tests are skipped where it is not installed."""

import importlib.util
import json
import pickle
import re
import sys

import numpy as np
import pytest

from expert_iter.errors import UserError
from expert_iter.tasks import load_task
from expert_iter.tasks.gym import entries, reasoning_gym
from expert_iter.tasks.task import SPLITS
from expert_iter.tasks.verifier.pool import VerifierConfig, make_verifier

installed = pytest.mark.skipif(
    importlib.util.find_spec("reasoning_gym") is None, reason="reasoning-gym is not installed"
)
SMALL = {"train_size": 6, "validation_size": 3, "test_size": 4}
NAMES = ("chain_sum", "mini_sudoku", "countdown")
RNG = np.random.default_rng(0)
# Questions of the form a + b or a - b, with digits: there are 200.
SUMS = '{"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}'
NO_KNOWN_ANSWER = "the package gives no right answer"
# What the test of all data sets excuses.
EXCUSED = {
    "boxnet": NO_KNOWN_ANSWER,
    "rush_hour": NO_KNOWN_ANSWER,
    "game_of_life_halting": "its scorer takes any text for any other",
}


def task_of(dataset, **settings):
    return load_task("reasoning_gym", {"dataset": dataset, **SMALL, **settings})


@pytest.fixture
def here(monkeypatch):
    """Problems are made in this process: a new one takes seconds to import the package."""
    monkeypatch.setattr(reasoning_gym, "draw_in_process", entries.draw)


@pytest.fixture(params=NAMES)
def task(request, here):
    return task_of(request.param)


@installed
def test_known_answers_are_right_and_others_wrong(task):
    for split in SPLITS:
        for problem in task.problems(split):
            solution = task.demonstration(problem, RNG)
            assert solution.startswith("#### ") and task.is_legal(problem, solution)
            assert task.verdict(problem, solution)
            assert task.verdict(problem, "2 + 2 = 4\n" + solution + "\n")
            for wrong in ("", "nonsense", "#### nonsense", "####", solution + "1", solution[5:]):
                assert not task.verdict(problem, wrong)
            assert solution not in problem.prompt


@installed
def test_sizes_ids_and_questions(task):
    problems = {split: task.problems(split) for split in SPLITS}
    assert {f"{split}_size": len(found) for split, found in problems.items()} == SMALL
    everything = [problem for found in problems.values() for problem in found]
    assert len({problem.id for problem in everything}) == len(everything)
    assert len({problem.prompt for problem in everything}) == len(everything)


@installed
def test_sums_are_judged_as_python_adds_them(here):
    task = task_of("chain_sum", options=SUMS)
    for problem in task.problems("train"):
        a, sign, b = re.search(r"(\d) ([-+]) (\d) =", problem.prompt).groups()
        result = int(a) + int(b) if sign == "+" else int(a) - int(b)
        assert task.verdict(problem, f"#### {result}")
        assert not task.verdict(problem, f"#### {result + 1}")


@installed
def test_a_right_answer_need_not_be_the_known_one(here):
    task = task_of("countdown")
    problem = task.problems("test")[0]
    known = task.demonstration(problem, RNG).removeprefix("#### ")
    assert not task.verdict(problem, f"#### ({known})*1**1")  # with numbers that are not given
    assert task.verdict(problem, f"####   ( {known} )")


@installed
def test_an_answer_of_several_lines_is_all_that_follows_the_hashes(here):
    task = task_of("mini_sudoku")
    problem = task.problems("test")[0]
    grid = task.answer(problem.prompt, task.demonstration(problem, RNG))
    assert re.fullmatch(r"[1-4]( [1-4]){3}(\n[1-4]( [1-4]){3}){3}", grid)
    assert task.answer(problem.prompt, f"#### 1 2\nNo:\n#### {grid}") == grid
    assert task.answer(problem.prompt, grid) is None and task.answer(problem.prompt, "####") is None
    assert not task.is_legal(problem, grid)
    assert not task.verdict(problem, f"#### {grid.partition(chr(10))[0]}")


@installed
def test_duplicates_are_dropped_and_too_few_problems_are_an_error(here):
    sizes = {"train_size": 60, "validation_size": 20, "test_size": 20}
    task = task_of("chain_sum", options=SUMS, **sizes)
    prompts = [problem.prompt for split in SPLITS for problem in task.problems(split)]
    assert len(set(prompts)) == 100
    more = task_of("chain_sum", options=SUMS, **sizes | {"train_size": 161})  # of 200 - 40
    with pytest.raises(UserError, match="task.train_size=161, but .* held only .* lower it"):
        more.problems("train")


@installed
def test_the_test_depends_on_no_other_size(here):
    few = task_of("chain_sum")
    many = task_of("chain_sum", train_size=50, validation_size=9)
    many.problems("train")
    assert few.problems("test") == many.problems("test")
    assert few.problems("validation") == many.problems("validation")[:3]
    other = task_of("chain_sum", seed=1)
    assert not {p.prompt for p in few.problems("test")} & {p.prompt for p in other.problems("test")}


@installed
def test_a_threshold_below_one_accepts_what_is_right_in_part(here):
    from reasoning_gym import create_dataset

    problem = task_of("chain_sum").problems("test")[0]
    known = problem.answer.solution.removeprefix("#### ")
    score = create_dataset("chain_sum").score_answer(f"about {known}", {"answer": known})
    assert 0.02 < score < 0.9
    for threshold, right in ((score + 0.01, False), (score - 0.01, True), (1.0, False)):
        task = task_of("chain_sum", threshold=threshold)
        assert task.verdict(problem, f"#### about {known}") == right


@installed
def test_users_read_records_of_the_package(here, tmp_path):
    from reasoning_gym import create_dataset

    made = list(create_dataset("countdown", seed=3, size=3))
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in made))
    task = task_of("countdown")
    problems = task.read(path)
    for problem, entry in zip(problems, made, strict=True):
        assert entry["question"] in problem.prompt
        assert task.verdict(problem, f"#### {entry['answer']}")
        assert not task.verdict(problem, f"#### {entry['answer']} + 1")
    path.write_text('{"question": "Which?", "answer": "1", "metadata": 3}\n')
    with pytest.raises(UserError, match="mine.jsonl, line 1: `metadata` is not an object"):
        task.read(path)


@installed
def test_few_shot_prompts_show_other_problems_with_answers(here):
    task = task_of("chain_sum", prompt="few_shot", shots=2)
    plain = task_of("chain_sum").problems("test")[0]
    prompt = task.problems("test")[0].prompt
    assert prompt.endswith(plain.prompt) and prompt.count("#### ") == 2


@installed
def test_a_typed_question_has_no_known_answer():
    task = task_of("chain_sum")
    problem = task.parse("What is 2 + 3?")
    assert "What is 2 + 3?" in problem.prompt and not task.verdict(problem, "#### 5")


@installed
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dataset": ""}, "task.dataset is not set: name one"),
        ({"dataset": "chain_sun"}, "no data set 'chain_sun': did you mean chain_sum"),
        ({"dataset": "composite"}, "no data set 'composite'"),
        ({"options": '{"min_term": 3}'}, "chain_sum has no setting 'min_term': did you mean min_"),
        ({"options": '{"min_terms": 0}'}, "chain_sum refuses them: min_terms must be positive"),
        ({"options": '{"min_terms": "a"}'}, "chain_sum refuses them"),
        ({"options": '{"seed": 3}'}, "task.options sets 'seed': use task.seed"),
    ],
)
def test_what_the_package_refuses_is_one_line(settings, message, here):
    task = load_task("reasoning_gym", {"dataset": "chain_sum", **settings})
    for use in (task.prepare, lambda: task.problems("train")):
        with pytest.raises(UserError, match=message) as error:
            use()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"options": "min_terms=3"}, "task.options='min_terms=3' is not a JSON object"),
        ({"options": "[3]"}, "is not a JSON object"),
        ({"threshold": 0.0}, "task.threshold must be between"),
        ({"threshold": 2}, "task.threshold must be between"),
        ({"seed": -1}, "task.seed must be between"),
        ({"train_size": 0}, "task.train_size must be between"),
        ({"drop_contaminated": True}, "task.drop_contaminated=true would drop all"),
    ],
)
def test_impossible_settings(settings, message):
    with pytest.raises(UserError, match=re.escape(message)):
        load_task("reasoning_gym", settings)


def test_a_missing_package_is_one_line_that_says_how_to_install_it(monkeypatch, tmp_path):
    (tmp_path / "reasoning_gym.py").write_text("raise ImportError('it is not here')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "reasoning_gym"]:
        monkeypatch.delitem(sys.modules, name)
    task = task_of("chain_sum")
    line = re.escape("(it is not here): pip install 'expert_iter[gym]'")
    for use in (task.prepare, lambda: task.problems("test")):  # here, and in its own process
        with pytest.raises(UserError, match=line):
            use()


@installed
@pytest.mark.slow
def test_answers_that_take_all_memory_are_wrong():
    task = task_of("rubiks_cube")
    problem = task.problems("test")[0]
    known = task.demonstration(problem, RNG)
    with make_verifier(task, VerifierConfig(workers=1)) as verifier:
        verdicts = verifier.verify([problem] * 3, ["#### F987654321", known, "#### F"])
    assert verdicts == [False, True, False]


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """A task of each data set, with its problems."""
    from reasoning_gym.factory import DATASETS

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reasoning_gym, "draw_in_process", entries.draw)
        patch.chdir(tmp_path_factory.mktemp("made"))  # codeio writes files
        found = {}
        for name in sorted(set(DATASETS) - {"composite"}):
            task = task_of(name, train_size=3, validation_size=1, test_size=2)
            found[name] = task, [*task.problems("train"), *task.problems("test")]
        yield found


@installed
@pytest.mark.slow
def test_all_data_sets_accept_their_own_answers_and_reject_nonsense(everything):
    failed = set()
    for name, (task, problems) in everything.items():
        for problem in problems:
            solution = problem.answer.solution
            right = bool(solution) and task.verdict(problem, solution)
            if not right or task.verdict(problem, "#### nonsense"):
                failed.add(name)
    assert failed == set(EXCUSED) and len(everything) - len(failed) >= 100


@installed
@pytest.mark.slow
def test_no_answer_runs_as_python(everything, monkeypatch, tmp_path):
    """Of any data set: a new version of the package may evaluate others than those known."""
    monkeypatch.chdir(tmp_path)
    mark = tmp_path / "ran"
    call = "__import__('os').mkdir('ran')"
    for_sympy = f"S.__class__.__init__.__globals__['__builtins__']['{call[:10]}']{call[10:]}"
    # Without our check they do run.
    for name, attack in (("string_insertion", call), ("polynomial_multiplication", for_sympy)):
        task, problems = everything[name]
        entry = pickle.loads(problems[0].answer.answer)
        task._scorer.score_answer(attack, entry)
        mark.rmdir()
    for name, (task, problems) in everything.items():
        for attack in (call, f"[{call}]", for_sympy):
            assert not task.verdict(problems[0], f"#### {attack}") or name in EXCUSED
            assert not mark.exists(), name
