import numpy as np

from expert_iter.search.readout import path, step_tokens
from expert_iter.search.self_play import Searched
from expert_iter.search.to_tree_record import tree_records
from expert_iter.storage.tree_record import flattened, from_bytes
from expert_iter.tasks.task import Problem


class Digits:
    """Writes tokens as their numbers."""

    def decode_all(self, texts):
        return [" ".join(map(str, tokens)) for tokens in texts]


def records(tree):
    problems = [Problem("train-1", "one", None), Problem("train-2", "two", None)]
    searched = Searched(np.arange(2), problems, tree, "mcts", round=3, unit=7, updates=40)
    return [from_bytes(data) for data in tree_records(searched, Digits())]


def test_a_record_has_all_that_the_search_left_of_its_problem(written_tree):
    whole = flattened(written_tree)
    assert len(whole) > 20
    for b, record in enumerate(records(written_tree)):
        assert record.arrays.keys() == whole.keys()
        for name, array in record.arrays.items():
            assert array.dtype == whole[name].dtype
            np.testing.assert_array_equal(array, whole[name][b])


def test_a_summary_says_which_search_it_was_and_what_came_of_it(written_tree):
    empty, one = (record.summary for record in records(written_tree))
    assert (one.problem, one.prompt, one.expert) == ("train-2", "two", "mcts")
    assert (one.round, one.unit, one.updates) == (3, 7, 40)
    assert (empty.nodes, one.nodes, one.solved, one.best_value) == (1, 3, False, 0.9)
    written_tree.won[1, 2, 2] = True
    assert [record.summary.solved for record in records(written_tree)] == [False, True]


def test_steps_are_the_candidates_that_exist_each_after_its_parent(written_tree):
    """Row 1 lacks candidate 1 of node 1, which repeats another."""
    steps = records(written_tree)[1].steps
    assert steps.text == ["4 3", "5 2", "7 3", "5 2", "6 3", "4 3", "4 3", "8 9 2"]
    assert steps.parent.tolist() == [-1, -1, -1, 0, 0, 4, 4, 4]
    assert steps.finished.tolist() == [False, True, False, True, False, False, False, True]
    solution = [*path(written_tree, 1, 2), (2, 2)]
    way, at = [], 7
    while at >= 0:
        way, at = [steps.text[at], *way], steps.parent[at]
    assert way == [" ".join(map(str, step_tokens(written_tree, 1, *step))) for step in solution]


def test_priors_are_those_of_siblings(written_tree):
    logits = np.log([0.5, 0.125, 0.375])
    written_tree.candidates.prior_logit[1, 0] = logits
    np.testing.assert_allclose(records(written_tree)[1].steps.prior[:3], np.exp(logits))
