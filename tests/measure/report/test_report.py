"""What a report says, against the task's own verdicts and the files it is made from."""

import json

import pytest

from expert_iter.assembly import Parts
from expert_iter.measure.comparison.comparison import FOLDER, Comparison
from expert_iter.measure.report.page import page
from expert_iter.measure.report.report import report_data
from expert_iter.model.transformer import Network
from tests.guarded import GuardedTask, Letters, fresh_params, settings
from tests.measure.report.test_page import PARTS, example


def who(parts):
    return parts.evaluator(), parts.verifier, fresh_params(parts.network)


@pytest.fixture(scope="module")
def parts():
    task = GuardedTask()
    network = Network(settings().model, Letters.vocab_size)
    return Parts(settings(), task, Letters(), network, objectives={})


@pytest.fixture(scope="module")
def workdir(parts, tmp_path_factory):
    """Of a run with a comparison of checkpoint 3 on all seven problems."""
    workdir = tmp_path_factory.mktemp("run")
    problems, folder = parts.task.problems("test"), workdir / FOLDER
    experts = "samples", "samples_without_replacement"
    changes = {"units": ("tokens",), "seeds": 1, "checkpoint": "checkpoint 3"}
    made = Comparison(*who(parts), problems, folder, experts, (12, 30), **changes)
    made.write(made.run())
    return workdir


@pytest.fixture(scope="module")
def data(parts, workdir):
    """Of a report on two problems with checkpoint 5."""
    problems = parts.task.problems("test")[:2]
    comparison = Comparison(*who(parts), problems, workdir / FOLDER, checkpoint="checkpoint 5")
    return report_data(comparison, parts.settings, workdir, "mcts", 30)


def test_it_says_which_checkpoint_is_shown_and_which_was_compared(data):
    facts = dict(map(tuple, data["facts"]))
    assert facts["trees and solutions"] == "2 problems, by checkpoint 5"
    assert facts["compared"] == "7 problems, by checkpoint 3"


def test_a_comparison_that_does_not_say_whose_it_is_is_left_out(parts, tmp_path):
    folder = tmp_path / FOLDER
    comparison = Comparison(*who(parts), parts.task.problems("test")[:2], folder)
    (folder / "comparison.json").write_text(json.dumps([{"expert": "mcts"}]))
    data = report_data(comparison, parts.settings, tmp_path, "mcts", 30)
    assert data["comparison"] == [] and ["compared", "nothing yet"] in data["facts"]


def test_solutions_have_the_verdicts_of_the_task(data, parts):
    problems = {p.prompt.strip(): p for p in parts.task.problems("test")[:2]}
    assert {sample["prompt"] for sample in data["samples"]} == set(problems)
    for sample in data["samples"]:
        assert sample["verdict"] == parts.task.verdict(problems[sample["prompt"]], sample["text"])
        assert 0 < sample["value"] < 1 and sample["log_pi"] <= 0


def test_trees_lead_to_their_answers(data, parts):
    """The chosen path spells the answer, children are visited less often than their parents, and
    only what is finished has a verdict.
    """
    problems = parts.task.problems("test")[:2]
    assert [tree["prompt"] for tree in data["trees"]] == [p.prompt.strip() for p in problems]
    for tree, problem in zip(data["trees"], problems, strict=True):
        assert (tree["expert"], tree["budget"]) == ("mcts", 30)
        node, path = tree["root"], ""
        while chosen := [child for child in node["children"] if child["chosen"]]:
            (node,) = chosen
            path += node["text"]
        assert node["finished"] and path.strip() == tree["answer"].strip()
        assert tree["verdict"] == node["verdict"] == parts.task.verdict(problem, tree["answer"])
        nodes = [tree["root"]]
        while nodes:
            node = nodes.pop()
            nodes += node["children"]
            assert sum(child["visits"] for child in node["children"]) <= node["visits"]
            assert (node["verdict"] is not None) == node["finished"]


def test_rows_have_the_keys_that_the_page_shows(data):
    """The page's own example stands for what it shows; seconds may be there in another form."""
    assert data.keys() == example().keys()
    for part in PARTS:
        [shown] = example()[part]
        rows = data[part]
        assert rows or part in ("rounds", "finals")  # which only training makes
        assert all(shown.keys() - {"seconds"} <= row.keys() for row in rows), part
    [tree] = example()["trees"]
    assert data["trees"][0]["root"].keys() == tree["root"].keys()
    [shown], [first, *_] = example()["calibration"], data["calibration"]
    assert first["bins"][0].keys() == shown["bins"][0].keys()


def test_the_page_takes_it(data):
    assert "7 problems, by checkpoint 3" in page(data, {})
