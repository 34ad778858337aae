"""Targets of trees made by hand.

The tree that most tests use: candidates as text, with what the search knows of them.

    root   a  visited once, continued by node 1, below which d wins
           b  visited once, continued by node 2, below which nothing wins
           c  finished and wrong
    node 1 d  finished and right     e  finished and wrong     f  open
    node 2 g  finished and wrong     a duplicate               h  open
"""

import jax
import numpy as np
import pytest

from expert_iter.learn.targets import TargetConfig, policy_targets, step_trees, won_below
from expert_iter.search.bill import Bill
from expert_iter.search.tree import SearchTree
from tests.steps import steps_at

PAD, BOS, EOS, NEWLINE = range(4)
STEPS = steps_at(NEWLINE)
A, B, C, D, E, F, G, H = range(4, 12)
PROMPT = [BOS, 20, NEWLINE]
LN2 = float(np.log(2))


def search_tree(candidates, **others):
    """One search as a batch of one: `candidates` gives per field an array `[N, K, ...]`."""
    token = np.asarray(candidates["token"])
    N, K = token.shape[:2]
    nodes, pairs = (1, N), (1, N, K)
    zeros = np.zeros(pairs, np.float32)
    fields = dict(
        live=np.ones(nodes, bool),
        parent=np.full(nodes, -1),
        action=np.full(nodes, -1),
        length=(token != PAD).sum(-1)[None],
        valid=np.ones(pairs, bool),
        count=np.ones(pairs, int),
        prior_logit=zeros,
        log_pi=zeros,
        log_beta=zeros,
        path_log_pi=np.zeros(nodes),
        token_value=np.zeros(token.shape, np.float32)[None],
        model_value=zeros,
        value=zeros,
        finished=np.zeros(pairs, bool),
        won=np.zeros(pairs, bool),
        child=np.full(pairs, -1),
        visits=np.zeros(pairs, int),
        q=zeros,
        answerable=np.ones(pairs, bool),
        bill=Bill(*np.zeros((4, 1))),
    )
    given = {name: np.asarray(x)[None] for name, x in candidates.items()}
    return SearchTree(**fields | given | {name: np.asarray(x)[None] for name, x in others.items()})


@pytest.fixture
def tree():
    return search_tree(
        dict(
            token=[
                [[A, NEWLINE], [B, NEWLINE], [C, EOS]],
                [[D, EOS], [E, EOS], [F, NEWLINE]],
                [[G, EOS], [G, EOS], [H, NEWLINE]],
            ],
            valid=np.array([[1, 1, 1], [1, 1, 1], [1, 0, 1]], bool),
            finished=np.array([[0, 0, 1], [1, 1, 0], [1, 0, 0]], bool),
            won=np.array([[0, 0, 0], [1, 0, 0], [0, 0, 0]], bool),
            child=[[1, 2, -1], [-1, -1, -1], [-1, -1, -1]],
            visits=[[1, 1, 0], [0, 0, 0], [0, 0, 0]],
            q=[[0.25, 0.5, 0.0], [1.0, 0.0, 1.0], [0.0, 0.0, 0.0]],
            prior_logit=[
                [np.log(1), np.log(2), np.log(1)],
                [np.log(1), np.log(1), np.log(0.5)],
                [np.log(1), np.log(5), np.log(3)],
            ],
            log_pi=[[-1.0, -2.0, -3.0], [-0.5, -1.5, -2.5], [-1.0, -1.0, -4.0]],
        ),
        parent=[-1, 0, 0],
        action=[-1, 0, 1],
    )


# σ(q) = (1 + max N) · ln 2 · q: a factor of 4^q at the root, of 2^q below it.
SCALE = dict(maxvisit_init=1.0, value_scale=LN2)


def test_won_below_follows_parents_up(tree):
    won = won_below(tree)
    assert won[0].tolist() == [[True, False, False], [True, False, False], [False] * 3]
    assert not tree.won[0, 0].any(), "the tree itself is left as it was"


def test_won_below_follows_a_long_way_up():
    """Each node continues the second candidate of the one before; the last one wins."""
    chain = search_tree(
        dict(
            token=[[[A, NEWLINE], [B, NEWLINE]]] * 3 + [[[A, EOS], [B, EOS]]],
            won=np.array([[0, 0], [0, 0], [0, 0], [1, 0]], bool),
        ),
        parent=[-1, 0, 1, 2],
        action=[-1, 1, 1, 1],
    )
    assert won_below(chain)[0].tolist() == [[False, True]] * 3 + [[True, False]]


def test_won_below_ignores_what_is_not_live(tree):
    won = won_below(tree._replace(live=np.array([[True, False, True]])))
    assert not won[0, 0].any()


def test_improved_policy_by_hand(tree):
    weights = policy_targets(tree, won_below(tree), TargetConfig(nodes="all", **SCALE))[0]
    expected = [
        # a is solved below, so it is worth 1 whatever its q: 1·4, 2·4^½, 1·4^0.
        np.array([4, 4, 1]) / 9,
        # 1·2, 1·1, ½·2.
        np.array([2, 1, 1]) / 4,
        # The duplicate gets nothing: 1, -, 3.
        np.array([1, 0, 3]) / 4,
    ]
    np.testing.assert_allclose(weights, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("nodes", "min_visits", "teach"),
    [
        ("all", 1, [1, 1, 1]),
        ("won", 1, [1, 1, 0]),
        ("root", 1, [1, 0, 0]),
        ("all", 2, [1, 0, 0]),  # a node's first visit is its expansion: 3, 1 and 1 visits
        ("all", 3, [1, 0, 0]),
        ("all", 4, [0, 0, 0]),
    ],
)
def test_which_nodes_teach(tree, nodes, min_visits, teach):
    config = TargetConfig(nodes=nodes, min_visits=min_visits)
    weights = policy_targets(tree, won_below(tree), config)[0]
    np.testing.assert_allclose(weights.sum(-1), teach, rtol=1e-6)
    dead = tree._replace(live=np.array([[True, True, False]]))
    assert not policy_targets(dead, won_below(dead), config)[0, 2].any()


def test_winners_share_a_nodes_weight(tree):
    more = tree._replace(won=np.array([[[0, 0, 0], [1, 0, 0], [1, 0, 0]]], bool))
    weights = policy_targets(more, won_below(more), TargetConfig(policy="winners", nodes="all"))[0]
    np.testing.assert_allclose(weights, [[0.5, 0.5, 0], [1, 0, 0], [1, 0, 0]])
    # A node without a winner has nothing to teach, even where 'root' or 'all' ask for it.
    for nodes in ("root", "won", "all"):
        lost = tree._replace(won=np.zeros_like(tree.won))
        config = TargetConfig(policy="winners", nodes=nodes)
        assert not policy_targets(lost, won_below(lost), config).any()


def facts(step_tree):
    """Policy weight, value target and correction (None: none) of each step, by its path."""
    paths, found = [], {}
    ends = np.cumsum(step_tree.length)
    for g, parent in enumerate(step_tree.parent):
        text = step_tree.token[ends[g] - step_tree.length[g] : ends[g]].tolist()
        if g == 0:
            assert text == PROMPT and parent == -1
            paths.append(())
        else:
            assert text[-1] in (NEWLINE, EOS)
            paths.append((*paths[parent], *text[:-1]))
        assert paths[-1] not in found and step_tree.value_weight[g] in (0, 1)
        found[paths[-1]] = (
            float(step_tree.policy_weight[g]),
            float(step_tree.value_target[g]) if step_tree.value_weight[g] else None,
            float(step_tree.correction[g]) if step_tree.in_set[g] else None,
        )
    return found


def rngs(*seeds):
    return [np.random.default_rng(seed) for seed in seeds]


def targets(tree, seed=0, siblings=False, **config):
    (found,) = step_trees(tree, [PROMPT], STEPS, TargetConfig(**config), rngs(seed), siblings)
    return facts(found)


def compare(found, expected):
    assert set(found) == set(expected)
    for path, wanted in expected.items():
        assert [x is None for x in found[path]] == [x is None for x in wanted], path
        np.testing.assert_allclose(
            [0 if x is None else x for x in found[path]],
            [0 if x is None else x for x in wanted],
            rtol=1e-5,
            err_msg=str(path),
        )


BY_HAND = {
    # Corrections are prior − log π.
    (): (0, 1, None),
    (A,): (4 / 9, 1, 1.0),
    (B,): (4 / 9, 0, np.log(2) + 2),
    (C,): (1 / 9, 0, 3.0),
    (A, D): (1 / 2, 1, 0.5),
    (A, E): (1 / 4, 0, 1.5),
    (A, F): (1 / 4, None, np.log(0.5) + 2.5),
    (B, G): (1 / 4, 0, 1.0),
    (B, H): (3 / 4, None, np.log(3) + 4),
}


def uncompared(facts):
    return {path: (weight, value, None) for path, (weight, value, _) in facts.items()}


def test_step_tree_of_a_searched_tree_by_hand(tree):
    config = dict(nodes="all", max_lost=99, **SCALE)
    compare(targets(tree, **config), uncompared(BY_HAND))
    compare(targets(tree, siblings=True, **config), BY_HAND)


def test_steps_that_teach_nothing_are_left_out(tree):
    found = targets(tree, policy="winners", max_lost=0)
    compare(found, {(): (0, 1, None), (A,): (1, 1, None), (B,): (0, 0, None), (A, D): (1, 1, None)})
    lost = tree._replace(won=np.zeros_like(tree.won))
    found = targets(lost, max_lost=0, siblings=True)
    compare(found, {(): (0, 0, None), (A,): (0, 0, None), (B,): (0, 0, None)})


def test_siblings_of_what_is_learned_are_kept_for_the_set_loss(tree):
    found = targets(tree, policy="winners", max_lost=0, siblings=True)
    teaches = {(A,): (1, 1), (B,): (0, 0), (A, D): (1, 1)}
    expected = {
        path: (*teaches.get(path, (0, None)), correction)
        for path, (_, _, correction) in BY_HAND.items()
        if path[:1] != (B,) or path == (B,)
    }
    compare(found, expected | {(): (0, 1, None)})


def test_negligible_weights_are_dropped(tree):
    sure = tree._replace(prior_logit=tree.prior_logit + 5.0 * tree.won)
    found = targets(sure, nodes="all", max_lost=0, **SCALE)
    # 2·e^5 against 1 and 1: e and f are below a hundredth.
    np.testing.assert_allclose(found[(A, D)][0], 2 * np.exp(5) / (2 * np.exp(5) + 2), rtol=1e-5)
    assert (A, E) not in found and (A, F) not in found


def test_value_targets_are_mixed_with_the_searchs_own_estimate(tree):
    found = targets(tree, nodes="all", max_lost=99, value_mix=0.2)
    value = {path: target for path, (_, target, _) in found.items()}
    np.testing.assert_allclose(value[(A,)], 0.8 * 1 + 0.2 * 0.25, rtol=1e-6)
    np.testing.assert_allclose(value[(B,)], 0.8 * 0 + 0.2 * 0.5, rtol=1e-6)
    # What is finished has its verdict: nothing is estimated there.
    assert value[(C,)] == value[(A, E)] == value[(B, G)] == 0 and value[(A, D)] == 1
    assert value[(A, F)] is value[(B, H)] is None


def many_lost(lost=8, won=2):
    tokens = [[[A + k, EOS] for k in range(won + lost)]]
    return search_tree(
        dict(
            token=tokens,
            finished=np.ones((1, won + lost), bool),
            won=[[True] * won + [False] * lost],
        )
    )


@pytest.mark.parametrize("max_lost", [0, 3, 8, 20])
def test_lost_solutions_that_teach_the_value_are_drawn_evenly(max_lost):
    drawn = np.zeros(8)
    for seed in range(200):
        found = targets(many_lost(), seed=seed, policy="winners", max_lost=max_lost)
        labels = [found.get((A + k,), (0, None, None))[1] for k in range(10)]
        assert labels[:2] == [1, 1], "right solutions always teach it"
        assert set(labels[2:]) <= {0, None}
        drawn += [label == 0 for label in labels[2:]]
        assert sum(label == 0 for label in labels[2:]) == min(max_lost, 8)
    # Binomial: four standard deviations around each one's share of the draws.
    share = min(max_lost, 8) / 8
    assert np.abs(drawn - 200 * share).max() <= 4 * np.sqrt(200 * share * (1 - share))


def guesses():
    """Guess-and-check's tree: one node, whole solutions for candidates."""
    return search_tree(
        dict(
            token=[
                [
                    [A, NEWLINE, D, EOS],
                    [A, NEWLINE, E, EOS],
                    [A, NEWLINE, D, EOS],  # drawn twice
                    [B, NEWLINE, D, EOS],
                    [B, NEWLINE, F, EOS],
                    [C, EOS, PAD, PAD],
                ]
            ],
            valid=np.array([[1, 1, 0, 1, 1, 1]], bool),
            finished=np.ones((1, 6), bool),
            won=np.array([[1, 0, 0, 1, 0, 0]], bool),
            q=np.array([[1, 0, 0, 1, 0, 0]], np.float32),
        )
    )


def test_guesses_are_split_into_lines_with_shared_prefixes_merged():
    found = targets(guesses(), policy="winners", max_lost=99)
    learned = {path: (weight, value) for path, (weight, value, _) in found.items()}
    assert learned == {
        (): (0, 1),
        (A,): (0.5, 1),  # a wrong solution shares it, but a right one too
        (A, D): (0.5, 1),
        (A, E): (0, 0),
        (B,): (0.5, 1),
        (B, D): (0.5, 1),
        (B, F): (0, 0),
        (C,): (0, 0),
    }


def test_what_two_winning_guesses_share_is_learned_from_both():
    both = guesses()._replace(won=np.array([[[1, 1, 0, 0, 0, 0]]], bool))
    found = targets(both, policy="winners", max_lost=0)
    weights = {path: weight for path, (weight, _, _) in found.items() if weight}
    assert weights == {(A,): 1.0, (A, D): 0.5, (A, E): 0.5}


@pytest.mark.parametrize("policy", ["winners", "improved"])
def test_guesses_that_teach_nothing_take_no_room(policy):
    assert set(targets(guesses(), policy=policy, max_lost=0, maxvisit_init=99.0)) == {
        (),
        (A,),
        (A, D),
        (B,),
        (B, D),
    }


def both(*trees):
    """A batch of two."""
    return jax.tree.map(lambda *pair: np.concatenate(pair), *trees)


def test_a_batch_has_one_step_tree_for_each_problem(tree):
    two = both(tree, tree._replace(won=np.zeros_like(tree.won)))
    prompts = [PROMPT, [BOS, 21]]
    first, second = step_trees(two, prompts, STEPS, TargetConfig(), rngs(0, 1))
    assert first.token[:3].tolist() == PROMPT and second.token[:2].tolist() == [BOS, 21]
    assert first.value_target[0] == 1 and second.value_target[0] == 0
    assert first.policy_weight.sum() > 0 and second.policy_weight.sum() == 0
    assert second.value_weight[0] == 1, "that nothing was found is to be learned too"


def test_a_problems_lots_are_its_own():
    """Which lost solutions are kept hangs on no neighbour: batches may be cut in any way."""
    config = TargetConfig(policy="winners", max_lost=1)
    trees = [guesses() for _ in range(16)]
    alone = [step_trees(t, [PROMPT], STEPS, config, rngs(i))[0] for i, t in enumerate(trees)]
    pairs = [
        step_trees(both(*trees[i : i + 2]), [PROMPT] * 2, STEPS, config, rngs(i, i + 1))
        for i in range(0, 16, 2)
    ]
    together = [lesson for pair in pairs for lesson in pair]
    assert list(map(facts, together)) == list(map(facts, alone))
    assert len({tuple(lesson.token) for lesson in alone}) > 1
