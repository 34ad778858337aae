"""The rules of selection against mctx's own, where nothing is closed and all is visited."""

import functools

import jax
import jax.numpy as jnp
import mctx
import numpy as np
import pytest
from mctx._src import action_selection, qtransforms, seq_halving

from expert_iter.search import selection
from expert_iter.search.search_config import SearchConfig

SCALE = {"value_scale": 0.1, "maxvisit_init": 20.0}
CONFIG = SearchConfig(**SCALE, pb_c_init=1.25, pb_c_base=500.0)
MIXED = functools.partial(
    qtransforms.qtransform_completed_by_mix_value, rescale_values=False, **SCALE
)


class Embedding:
    """What the rules read of a node's embedding."""

    def __init__(self, value_NxK, open_NxK):
        self.value, self.open = value_NxK, open_NxK


jax.tree_util.register_pytree_node(
    Embedding, lambda e: ((e.value, e.open), None), lambda _, leaves: Embedding(*leaves)
)


def one_node(rng, visits, prior=None, q=None, own=None, is_open=None, valid=None):
    """A tree, of one row, whose only node has candidates with these statistics."""
    K = len(visits)
    prior = rng.normal(size=K) if prior is None else prior
    q = rng.random(K) if q is None else q
    own = rng.random(K) if own is None else own
    valid = np.ones(K, bool) if valid is None else valid
    is_open = valid if is_open is None else is_open
    node = lambda x, dtype=jnp.float32: jnp.asarray(x, dtype)[None]  # noqa: E731
    return mctx.Tree(
        node_visits=node(np.sum(visits) + 1, jnp.int32),
        raw_values=node(rng.random()),
        node_values=node(rng.random()),
        parents=node(-1, jnp.int32),
        action_from_parent=node(-1, jnp.int32),
        children_index=node(np.where(np.asarray(visits) > 0, 0, -1), jnp.int32),
        children_prior_logits=node(prior),
        children_values=node(q),
        children_visits=node(visits, jnp.int32),
        children_rewards=node(np.zeros(K)),
        children_discounts=node(np.ones(K)),
        embeddings=Embedding(node(own), node(valid, bool)),
        root_invalid_actions=~jnp.asarray(valid),
        extra_data=selection.SearchState(
            root_gumbel=jnp.asarray(rng.gumbel(size=K)),
            open=node(is_open, bool),
            planned=jnp.int32(0),
            at=jnp.int32(0),
            ended=jnp.int32(-1),
        ),
    )


@jax.jit
def gumbel_root(tree, node, planned):
    tree = tree.replace(extra_data=tree.extra_data._replace(planned=planned))
    return selection.gumbel_root(CONFIG, None, tree, node)


gumbel_interior = jax.jit(functools.partial(selection.gumbel_interior, CONFIG, None, depth=1))
puct = jax.jit(functools.partial(selection.puct, CONFIG, None))


@pytest.mark.parametrize("exact", [True, False])
def test_the_schedule_is_mctxs_own(exact):
    """For up to 16 candidates, in just as many places or more, and up to 40 simulations."""
    for most in (1, 2, 3, 5, 8, 13, 16) if exact else (16,):
        m, S, simulation = np.meshgrid(
            [most] if exact else range(17), range(1, 41), range(40), indexing="ij"
        )
        schedule = jax.jit(functools.partial(selection.considered_visit, most))
        found = np.asarray(schedule(m.ravel(), S.ravel(), simulation.ravel())).reshape(m.shape)
        for row, considered in enumerate(m[:, 0, 0]):
            for budget in range(1, 41):
                table = seq_halving.get_table_of_considered_visits(considered, budget)
                expected = table[considered]
                np.testing.assert_array_equal(found[row, budget - 1, :budget], expected)


def test_root_rule_is_mctxs_own():
    """Along whole searches: whatever is chosen is visited, until the budget ends."""
    rng, K, S = np.random.default_rng(0), 6, 24
    theirs = jax.jit(
        lambda tree: action_selection.gumbel_muzero_root_action_selection(
            jax.random.key(0),
            tree.replace(
                extra_data=mctx.GumbelMuZeroExtraData(root_gumbel=tree.extra_data.root_gumbel)
            ),
            0,
            num_simulations=S,
            max_num_considered_actions=K,
            qtransform=MIXED,
        )
    )
    chosen = set()
    for _ in range(5):
        visits, fixed = np.zeros(K, int), one_node(rng, np.zeros(K))
        for simulation in range(S):
            q = jnp.asarray(rng.random((1, K)), jnp.float32)
            tree = fixed.replace(children_values=q, children_visits=jnp.asarray(visits)[None])
            action = int(gumbel_root(tree, 0, S))
            if simulation >= K:  # an unvisited candidate's value is the one thing done otherwise
                assert action == theirs(tree)
                chosen.add(action)
            visits[action] += 1
        assert sorted(visits)[0] >= 1
    assert len(chosen) == K


def test_interior_rules_are_mctxs_own():
    rng, K = np.random.default_rng(1), 5
    no_key = jax.random.key(0)
    interior = jax.jit(
        lambda tree: action_selection.gumbel_muzero_interior_action_selection(
            no_key, tree, 0, 1, qtransform=MIXED
        )
    )
    unscaled = functools.partial(qtransforms.qtransform_by_min_max, min_value=0.0, max_value=1.0)
    muzero = jax.jit(
        lambda tree: action_selection.muzero_action_selection(
            no_key, tree, 0, 1, pb_c_init=1.25, pb_c_base=500.0, qtransform=unscaled
        )
    )
    chosen = set()
    for trial in range(500):
        tree = one_node(rng, rng.integers(1, 3 if trial % 2 else 9, K))
        pair = int(gumbel_interior(tree, 0)), int(puct(tree, 0))
        assert pair == (interior(tree), muzero(tree))
        chosen.add(pair)
    assert len(chosen) > 15


def test_an_unvisited_candidate_counts_with_its_own_value():
    tree = one_node(
        np.random.default_rng(2), [2, 0, 1, 0], q=[0.1, 0.9, 0.3, 0.9], own=[0.5, 0.6, 0.7, 0.8]
    )
    q = selection.completed_qvalues(tree, 0)
    np.testing.assert_allclose(q, [0.1, 0.6, 0.3, 0.8], atol=1e-6)


def test_improved_policy_by_hand():
    prior, q, visits = np.array([0.0, 1.0, -1.0]), np.array([0.9, 0.1, 0.5]), np.array([3, 7, 0])
    weight = np.exp(prior + (20 + 7) * 0.1 * q)
    policy = selection.improved_policy(prior, q, visits, CONFIG)
    np.testing.assert_allclose(policy, weight / weight.sum(), rtol=1e-5)
    # Masked candidates have no part in it, and no row has a part in another's.
    many = selection.improved_policy(
        np.array([[*prior, -1e9], [0.0, 0, 0, 0]]),
        np.array([[*q, 0.9], [0.2, 0.2, 0.2, 0.2]]),
        np.array([[*visits, 0], [0, 0, 0, 0]]),
        CONFIG,
    )
    np.testing.assert_allclose(many, [[*policy, 0], [0.25] * 4], rtol=1e-5)


@pytest.mark.parametrize("rule", ["gumbel root", "gumbel interior", "puct"])
def test_what_is_closed_is_never_chosen(rule):
    """However good it looks; and of what is open, it changes nothing to close the worst."""
    rng, K = np.random.default_rng(3), 5
    rules = {
        "gumbel root": lambda tree: int(gumbel_root(tree, 0, 20)),
        "gumbel interior": lambda tree: int(gumbel_interior(tree, 0)),
        "puct": lambda tree: int(puct(tree, 0)),
    }
    choose = rules[rule]
    for _ in range(100):
        visits = rng.integers(0, 4, K)
        tree = one_node(rng, visits)
        first = choose(tree)
        is_open = np.arange(K) != first
        others = tree.replace(extra_data=tree.extra_data._replace(open=jnp.asarray(is_open)[None]))
        second = choose(others)
        assert second != first
        only = jnp.asarray(np.arange(K) == second)[None]
        assert choose(tree.replace(extra_data=tree.extra_data._replace(open=only))) == second


def test_invalid_candidates_shorten_the_schedule():
    """Three of six candidates are there: Sequential Halving is that of three."""
    rng, valid = np.random.default_rng(4), np.array([1, 0, 1, 0, 0, 1], bool)
    prior = np.where(valid, rng.normal(size=6), -1e9)
    fixed, visits = one_node(rng, np.zeros(6), prior=prior, valid=valid), np.zeros(6, int)
    sequence = seq_halving.get_sequence_of_considered_visits(3, 12)
    for scheduled in sequence:
        tree = fixed.replace(children_visits=jnp.asarray(visits)[None])
        action = int(gumbel_root(tree, 0, 12))
        assert valid[action] and visits[action] == scheduled
        visits[action] += 1


def test_off_schedule_the_nearest_is_taken():
    """The candidate with the scheduled number of visits is closed; value decides between equals."""
    rng = np.random.default_rng(5)
    scheduled = seq_halving.get_sequence_of_considered_visits(4, 16)[9]
    is_open = np.array([False, True, True, True])
    for visits, q, expected in (
        ([2, 0, 1, 6], [0.1, 0.9, 0.1, 0.9], 2),
        ([2, 1, 1, 5], [0.9, 0.9, 0.1, 0.9], 1),
        ([2, 1, 1, 5], [0.9, 0.1, 0.9, 0.9], 2),
    ):
        assert sum(visits) == 9 and visits[0] == scheduled
        tree = one_node(rng, visits, prior=np.zeros(4), q=q, own=q, is_open=is_open)
        tree = tree.replace(
            extra_data=tree.extra_data._replace(root_gumbel=jnp.zeros(4)),
        )
        assert int(gumbel_root(tree, 0, 16)) == expected
