import json

from expert_iter.measure.report.stored_tree import as_json, drawn
from expert_iter.measure.report.tree_text import render
from tests.storage.tree_records import record


def test_the_tree_has_its_steps_where_they_belong():
    root = drawn(record())
    first, second = root.children
    [solution] = second.children
    assert (root.text, root.visits) == ("1 2 -> 3", 4)
    assert (first.text, first.visits, first.prior, first.q) == ("1 + 1 = 2", 1, 0.25, 0.5)
    assert (solution.text, solution.value, solution.verdict) == ("done", 0.75, True)
    assert [node.chosen for node in (root, first, second, solution)] == [True, False, True, True]


def test_without_a_right_solution_no_step_is_chosen():
    root = drawn(record(solved=False))
    solution = root.children[1].children[0]
    assert solution.verdict is False and not root.children[1].chosen
    assert "wrong" in render(root)


def test_exported_nodes_name_their_parent():
    made = json.loads(json.dumps(as_json(record(round=2))))
    assert (made["problem"], made["round"], made["solved"]) == ("train-5", 2, True)
    assert [node["parent"] for node in made["nodes"]] == [None, 0, 0, 2]
    assert made["nodes"][0] == {"text": "1 2 -> 3\n", "parent": None}
    assert made["nodes"][3] == {
        "text": "done\n",
        "parent": 2,
        "prior": 1.0,
        "value": 0.75,
        "q": 1.0,
        "visits": 2,
        "finished": True,
        "won": True,
    }
