"""Self-play: the trees carry verdicts on what finished, and those of the right problems."""

import jax
import numpy as np
import pytest

from expert_iter.assembly import assemble
from expert_iter.config import default_config, settings
from expert_iter.measure.search_figures import search_means, search_sums
from expert_iter.measure.show import tree_of


@pytest.fixture(scope="module", params=["mcts", "guess"])
def played(request, tmp_path_factory):
    config = default_config("countdown")
    config.update_from_flattened_dict(
        {
            "task.train_size": 64,
            "task.validation_size": 4,
            "task.test_size": 4,
            "task.largest": 6,
            "task.max_value": 12,
            "task.max_target": 12,
            "model.width": 32,
            "model.num_layers": 1,
            "warm_start.updates": 40,
            "learner.rows": 8,
            "run.batch_size": 16,
            "run.expert": request.param,
            "search.num_candidates": 4,
            "search.num_simulations": 4,
            "guess.num_samples": 8,
        }
    )
    parts = assemble(settings(config), tmp_path_factory.mktemp("play"))
    problems = parts.task.problems("train")
    learner, plays = parts.learner(), parts.plays(problems)
    state = learner.init(learner.network.init(jax.random.key(0)))
    for update in range(40):
        state, _ = learner.update(state, learner.batch([], plays, np.random.default_rng(update))[0])
    batch = problems[:16]
    return parts, batch, parts.expert().search(state.params, batch, jax.random.key(1))


def texts(parts, tree, b):
    """Every finished candidate with its whole text, walked up from scratch."""
    for node, k in np.argwhere(tree.finished[b] & tree.valid[b]):
        steps, at = [tree.token[b, node, k, : tree.length[b, node, k]]], node
        while at > 0:
            parent, action = tree.parent[b, at], tree.action[b, at]
            steps.insert(0, tree.token[b, parent, action, : tree.length[b, parent, action]])
            at = parent
        yield (node, k), parts.tokenizer.decode(np.concatenate(steps))


def test_verdicts_are_the_tasks_own(played):
    parts, problems, tree = played
    checked = 0
    for b, problem in enumerate(problems):
        for at, text in texts(parts, tree, b):
            assert tree.won[b][tuple(at)] == parts.task.verdict(problem, text), text
            checked += 1
    assert checked > 16
    assert not (tree.won & ~tree.finished).any()


def test_figures_count_what_is_there(played):
    _, problems, tree = played
    means, sums = search_means(tree), search_sums(tree)
    assert means["solved"] == np.mean([tree.won[b].any() for b in range(len(problems))])
    assert means["nodes"] == sum(int(row.sum()) for row in tree.live) / len(problems)
    assert 0 < means["utilisation"] <= 1
    assert sums["problems"] == 16
    drawn = (tree.count * tree.length * tree.live[..., None]).sum()
    assert sums["tokens"] == pytest.approx(drawn)


def test_lessons_hold_the_winning_steps(played):
    parts, problems, tree = played
    lessons = parts.distil(tree, problems, np.random.default_rng(0))
    assert all(lesson.teaches for lesson in lessons)
    weight = sum(float(lesson.policy_weight.sum()) for lesson in lessons)
    assert (weight > 0) == bool(tree.won.any())


def test_the_drawn_tree_has_every_candidate_once(played):
    parts, problems, tree = played
    root = tree_of(tree, None, parts.tokenizer, problems[0].prompt)

    def count(node):
        return len(node.children) + sum(map(count, node.children))

    assert root.text == problems[0].prompt.strip()
    assert count(root) == int((tree.valid[0] & tree.live[0][:, None]).sum())
