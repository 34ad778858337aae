import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from expert_iter.learn.loss import loss, step_outputs, tree_mask
from expert_iter.learn.packing import Packer
from expert_iter.learn.step_tree import OBSERVED, StepTree
from expert_iter.model.transformer import Network
from expert_iter.model.transformer_config import TransformerConfig
from tests.learn.trees import COLUMNS, POLICIES, where
from tests.objectives import objectives

PACKER = Packer(3, 40, 16, COLUMNS)
LONGEST = 40
NETWORKS = {
    "plain": {},
    "gemma": dict(
        attention_softcap=5.0, logit_softcap=4.0, sliding_window=3, global_every=2, num_kv_heads=2
    ),
}


@pytest.fixture(scope="module", params=NETWORKS)
def any_network(request):
    shape = dict(num_layers=2, width=16, num_heads=4, num_kv_heads=1, head_dim=8, mlp_width=32)
    return Network(TransformerConfig(**shape | NETWORKS[request.param]), vocab_size=12)


@pytest.fixture(scope="module")
def trees(random_tree):
    rng = np.random.default_rng(7)
    return [random_tree(rng, steps=n) for n in (7, 1, 6, 5, 2, 8)]


@pytest.fixture(scope="module")
def batch(trees):
    batch, taken = PACKER.pack(trees)
    assert len(taken) == len(trees) > PACKER.rows
    return batch


@pytest.fixture(scope="module")
def run(network):
    """log π and value of every packed step, jitted once for the shapes of `PACKER`."""
    return jax.jit(functools.partial(read, network))


def read(network, params, batch):
    found = step_outputs(network, params, batch)
    return found.log_pi_RxG, found.heads["value"]


@pytest.fixture(scope="module")
def gradient_of(network):
    """Loss, figures and gradient of a batch by its policy objective, jitted once each."""

    def of(policy):
        # A clip that is never reached: the loss is smooth.
        made = objectives(policy, "value", policy_gradient=dict(clip=100.0))
        return jax.jit(
            jax.value_and_grad(functools.partial(loss, network, objectives=made), has_aux=True)
        )

    return {policy: of(policy) for policy in POLICIES}


def alone(network, params, trees):
    """log π and value of every step of every tree, each root-to-leaf path read by itself."""
    texts, asked = [], []  # asked: (tree, step, first token, last token) of each text
    for number, tree in enumerate(trees):
        ends = np.cumsum(tree.length)
        for leaf in set(range(len(tree.length))) - set(tree.parent.tolist()):
            path = [leaf]
            while path[0] > 0:
                path.insert(0, int(tree.parent[path[0]]))
            text, spans = [], []
            for g in path:
                begin = len(text)
                text += tree.token[ends[g] - tree.length[g] : ends[g]].tolist()
                spans.append((number, g, begin, len(text)))
            texts.append(text)
            asked.append(spans)
    tokens = np.zeros((len(texts), LONGEST), np.int32)
    for row, text in enumerate(texts):
        tokens[row, : len(text)] = text

    @jax.jit
    def read_texts(params, tokens):
        position = jnp.broadcast_to(jnp.arange(LONGEST), tokens.shape)
        causal = jnp.broadcast_to(
            jnp.tril(jnp.ones((LONGEST, LONGEST), bool)), (*tokens.shape, LONGEST)
        )
        hidden, _ = network.hidden(params, tokens, position, causal)
        return network.logits(params, hidden), network.value_logit(params, hidden)

    logits, values = (np.asarray(x, np.float64) for x in read_texts(params, tokens))
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    log_pi = [np.full(len(tree.length), np.nan) for tree in trees]
    value = [np.full(len(tree.length), np.nan) for tree in trees]
    for row, spans in enumerate(asked):
        for number, g, begin, end in spans:
            at = np.arange(max(begin, 1), end)
            log_pi[number][g] = log_probs[row, at - 1, tokens[row, at]].sum()
            value[number][g] = values[row, end - 1]
    return log_pi, value


def test_packed_trees_are_read_as_each_path_alone(any_network, random_params, trees, batch):
    params = random_params(any_network)
    log_pi, value = jax.jit(functools.partial(read, any_network))(params, batch)
    log_pi_alone, value_alone = alone(any_network, params, trees)
    for number, tree in enumerate(trees):
        row, steps = where(batch, tree)
        # A prompt is predicted by nothing, so its own log π (step 0) means nothing.
        np.testing.assert_allclose(log_pi[row, steps][1:], log_pi_alone[number][1:], atol=1e-5)
        np.testing.assert_allclose(value[row, steps], value_alone[number], atol=1e-5)


def test_mask_shows_a_token_its_own_path_and_nothing_else(batch):
    mask = np.asarray(tree_mask(batch.step_RxT, batch.ancestor_RxGxG))
    for row, (step, parent) in enumerate(zip(batch.step_RxT, batch.parent_RxG, strict=True)):
        for t, g in enumerate(step):
            path = set()
            while g >= 0:
                path.add(int(g))
                g = parent[g]
            sees = {t} | {u for u in range(t) if int(step[u]) in path}
            assert set(np.flatnonzero(mask[row, t]).tolist()) == sees, (row, t)


def test_padding_and_neighbours_change_nothing(network, params, run, trees, batch):
    log_pi, value = run(params, batch)
    junk = np.random.default_rng(1).integers(0, 12, batch.token_RxT.shape)
    token = np.where(batch.step_RxT < 0, junk, batch.token_RxT).astype(np.int32)
    assert (token != batch.token_RxT).any()
    log_pi_junk, value_junk = run(params, batch._replace(token_RxT=token))
    for tree in trees:
        row, steps = where(batch, tree)
        np.testing.assert_array_equal(log_pi[row, steps], log_pi_junk[row, steps])
        np.testing.assert_array_equal(value[row, steps], value_junk[row, steps])

    roomy, _ = Packer(4, 55, 30, COLUMNS).pack(trees[::-1])
    log_pi_roomy, value_roomy = jax.jit(functools.partial(read, network))(params, roomy)
    for tree in trees:
        at, there = where(batch, tree), where(roomy, tree)
        np.testing.assert_allclose(log_pi[at][1:], log_pi_roomy[there][1:], atol=1e-5)
        np.testing.assert_allclose(value[at], value_roomy[there], atol=1e-5)


def test_what_a_world_wrote_is_read_but_is_not_the_policys(params, run, trees):
    """As if it were a step of its own."""
    rng = np.random.default_rng(3)
    for whole in trees:
        observed = rng.integers(0, whole.length) * (whole.parent >= 0)
        one = whole.with_columns({OBSERVED: observed.astype(np.float32)})
        length, parent, last = [], [], []  # of its steps in two; where each of its steps ends there
        for n, before, heard in zip(whole.length, whole.parent, observed, strict=True):
            length.append(n - heard)
            parent.append(last[before] if before >= 0 else -1)
            if heard:
                length.append(heard)
                parent.append(len(length) - 2)
            last.append(len(length) - 1)
        first = np.array(last) - (observed > 0)
        two = StepTree(whole.token, np.array(length), np.array(parent), {})
        (log_pi, value), (parted, parted_value) = (run(params, pack(tree)) for tree in (one, two))
        G = len(whole.length)
        np.testing.assert_allclose(log_pi[0, 1:G], parted[0, first[1:]], atol=1e-5)
        np.testing.assert_allclose(value[0, :G], parted_value[0, last], atol=1e-5)


def pack(tree):
    batch, taken = PACKER.pack([tree])
    assert taken == [0]
    return batch


def test_each_head_is_read_at_the_ends_of_steps(network, random_params, batch):
    more = Network(network.config, network.vocab_size, ("value", "doubt"))
    params = random_params(more)
    found = step_outputs(more, params, batch)
    assert set(found.heads) == {"value", "doubt"}
    swapped = params | {f"value_{x}": params[f"doubt_{x}"] for x in ("weight", "bias")}
    again = step_outputs(more, swapped, batch)
    np.testing.assert_allclose(again.heads["value"], found.heads["doubt"], rtol=1e-5)
    assert np.abs(found.heads["value"] - found.heads["doubt"]).max() > 0.1


def slow_loss(trees, log_pi, value_logit, rows, policy, value_weight):
    """The loss's definition, step by step in float64: `(total, policy loss, value loss)`."""
    policy_loss = value_loss = policy_weights = value_weights = 0.0
    for tree, own_log_pi, logit in zip(trees, log_pi, value_logit, strict=True):
        columns = tree.columns
        for g in range(len(tree.length)):
            score = own_log_pi[g]
            in_set, correction = (
                columns[f"set_normalised.{name}"] for name in ("in_set", "correction")
            )
            if policy == "set_normalised" and in_set[g]:
                among = [
                    np.exp(own_log_pi[h] + correction[h])
                    for h in range(len(tree.length))
                    if in_set[h] and tree.parent[h] == tree.parent[g]
                ]
                score = own_log_pi[g] + correction[g] - np.log(np.sum(among))
            weight = columns[f"{policy}.weight"][g]
            if weight:
                policy_loss -= weight * score
            chance = 1 / (1 + np.exp(-logit[g]))
            y = columns["value.target"][g]
            error = -y * np.log(chance) - (1 - y) * np.log(1 - chance)
            value_loss += columns["value.weight"][g] * error
            policy_weights += weight
            value_weights += columns["value.weight"][g]
    total = policy_loss / rows + value_weight * value_loss / rows
    return total, policy_loss / policy_weights, value_loss / value_weights


@pytest.mark.parametrize("policy", ["improved", "set_normalised"])
def test_loss_is_its_definition(network, params, trees, batch, gradient_of, policy):
    (total, figures), _ = gradient_of[policy](params, batch)
    expected = slow_loss(trees, *alone(network, params, trees), PACKER.rows, policy, 0.5)
    means = [sum / weight for sum, weight in (figures[f"{policy}_loss"], figures["value_loss"])]
    np.testing.assert_allclose((total, *means), expected, rtol=1e-5)


def test_objectives_are_added_up_with_their_weights(params, batch, network, gradient_of):
    """Each alone, and all of them together with other weights."""
    weights = dict(zip((*POLICIES, "value"), (0.5, 0.0, 2.0, 1.5, 3.0), strict=True))
    sections = {name: {"weight": weight} for name, weight in weights.items()}
    sections["policy_gradient"]["clip"] = 100.0
    together = objectives(*POLICIES, "value", **sections)
    total, figures = jax.jit(functools.partial(loss, network, objectives=together))(params, batch)
    value = gradient_of["improved"](params, batch)[0][1]["value_loss"][0]
    expected = weights["value"] * value
    for policy in POLICIES:
        (alone, own), _ = gradient_of[policy](params, batch)
        expected += weights[policy] * (alone - 0.5 * value)
        for name, figure in own.items():
            np.testing.assert_allclose(figures[name], figure, rtol=1e-4)
    np.testing.assert_allclose(total, expected, rtol=1e-4)
    assert len({round(float(gradient_of[p](params, batch)[0][0]), 2) for p in POLICIES}) == 4


def test_a_figure_that_several_objectives_give_is_named_by_each(network, params, batch):
    once = objectives("improved", "value")
    (_, figures), (_, expected) = (
        loss(network, params, batch, made) for made in (once | {"again": once["improved"]}, once)
    )
    twice = expected.pop("improved_loss")
    expected |= {"improved.improved_loss": twice, "again.improved_loss": twice}
    assert figures == expected


def test_figures_are_sums_over_the_batch_by_its_rows(params, batch, gradient_of):
    figures = gradient_of["improved"](params, batch)[0][1]
    for name in ("improved", "value"):
        _, weight = figures[f"{name}_loss"]
        expected = np.sum(batch.columns[f"{name}.weight"]) / PACKER.rows
        np.testing.assert_allclose(weight, expected, rtol=1e-6)


@pytest.mark.parametrize("policy", POLICIES)
def test_gradient_on_parameters_by_finite_differences(params, batch, gradient_of, policy):
    value_and_grad = gradient_of[policy]
    gradient = value_and_grad(params, batch)[1]
    step = 0.001 if policy == "step_preferences" else 0.01  # whose loss bends more
    leaves, shape = jax.tree.flatten(gradient)
    for i, leaf in enumerate(leaves):
        norm = jnp.linalg.norm(leaf)
        assert norm > 1e-3, "every parameter matters"
        # Along its own gradient a parameter's slope is the gradient's norm.
        away = [step * x / norm if j == i else jnp.zeros_like(x) for j, x in enumerate(leaves)]
        away = jax.tree.unflatten(shape, away)
        ahead = value_and_grad(jax.tree.map(jnp.add, params, away), batch)[0][0]
        behind = value_and_grad(jax.tree.map(jnp.subtract, params, away), batch)[0][0]
        np.testing.assert_allclose((ahead - behind) / (2 * step), norm, rtol=0.01, atol=1e-3)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_trees_gradient_does_not_depend_on_the_rest_of_the_batch(
    params, trees, batch, gradient_of, policy
):
    together = gradient_of[policy](params, batch)[1]
    each = [gradient_of[policy](params, PACKER.pack([tree])[0])[1] for tree in trees]
    total = jax.tree.map(lambda *parts: sum(parts), *each)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), together, total)


@pytest.mark.parametrize("policy", POLICIES)
def test_an_empty_batch_has_no_gradient(params, gradient_of, policy):
    (total, figures), gradient = gradient_of[policy](params, PACKER.pack([])[0])
    assert total == 0 and np.isfinite(list(figures.values())).all()
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradient))


def test_steps_outside_any_set_are_learned_as_such(params, trees, gradient_of):
    """As those of candidates of several steps, which have no siblings to be compared with."""
    nothing = [{"set_normalised.in_set": np.zeros(len(tree.length), bool)} for tree in trees]
    without = [tree.with_columns(change) for tree, change in zip(trees, nothing, strict=True)]
    batch, _ = PACKER.pack(without)
    (total, _), by_set = gradient_of["set_normalised"](params, batch)
    (wanted, _), by_steps = gradient_of["improved"](params, batch)
    # Two programs, each rounding in its own way.
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)  # noqa: E731
    jax.tree.map(close, (total, by_set), (wanted, by_steps))


def test_demonstrations_are_imitated_whatever_the_other_objectives_are(params, trees, gradient_of):
    """With the same weights in the column of demonstrations and nowhere else."""
    alone = [
        tree.with_columns(
            {name: np.zeros_like(x) for name, x in tree.columns.items()}
            | {"imitation.weight": tree.columns["improved.weight"]}
        )
        for tree in trees
    ]
    batch, _ = PACKER.pack(alone)
    (total, figures), _ = gradient_of["step_preferences"](params, batch)
    (_, of_improved), _ = gradient_of["improved"](params, PACKER.pack(trees)[0])
    np.testing.assert_allclose(total, of_improved["improved_loss"][0], rtol=1e-5)
    np.testing.assert_allclose(figures["imitation_loss"], of_improved["improved_loss"], rtol=1e-5)
