from types import SimpleNamespace

import numpy as np
import pytest

from expert_iter.measure.report.show import tree_of
from expert_iter.search.readout import solutions
from tests.steps import steps_at


def write(tokens):
    return " ".join(map(str, tokens)) + "\n"


TOKENIZER = SimpleNamespace(decode=write, decode_all=lambda steps: list(map(write, steps)))


def test_every_candidate_is_shown_once_under_its_node(written_tree):
    """Duplicates are left out; statistics and the answer's path are the tree's."""
    tree = written_tree._replace(visits=written_tree.visits.copy(), q=written_tree.q.copy())
    tree.visits[1, 0], tree.visits[1, 1] = [2, 0, 0], [0, 0, 1]
    tree.q[1, 0] = 0.25, 0.5, 0.125
    tree.candidates.prior_logit[1, 0] = np.log([1, 2, 5]) - 40
    tree.candidates.prior_logit[1, 1] = 0, -1e9, np.log(3)
    answer = solutions(tree, 1, steps_at(3))[2]
    root = tree_of(tree, answer, TOKENIZER, "a prompt\n", 1)
    assert (root.text, root.visits, root.chosen) == ("a prompt", 2, True)
    texts = lambda node: [child.text for child in node.children]  # noqa: E731
    assert texts(root) == ["4 3", "5 2", "7 3"]
    first = root.children[0]
    assert texts(first) == ["5 2", "6 3"] and texts(first.children[1]) == ["4 3", "4 3", "8 9 2"]
    assert [child.children for child in root.children[1:]] == [[], []]
    assert [child.visits for child in root.children] == [2, 0, 0]
    assert [child.q for child in root.children] == [0.25, 0.5, 0.125]
    assert [child.prior for child in root.children] == pytest.approx([1 / 8, 2 / 8, 5 / 8])
    assert [child.prior for child in first.children] == pytest.approx([1 / 4, 3 / 4])
    assert [child.finished for child in root.children] == [False, True, False]

    def chosen(node):
        return [node.text] * node.chosen + [t for child in node.children for t in chosen(child)]

    assert chosen(root) == ["a prompt", "4 3", "6 3", "8 9 2"]


def test_a_tree_without_an_answer_marks_its_root_alone(written_tree):
    root = tree_of(written_tree, None, TOKENIZER, "prompt", 1)
    assert root.chosen and not any(child.chosen for child in root.children)
    empty = tree_of(written_tree, None, TOKENIZER, "prompt", 0)
    assert len(empty.children) == 3 and not any(child.children for child in empty.children)
