import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from expert_iter.learn import losses
from expert_iter.learn.losses import LossConfig, step_log_probs, tree_mask
from expert_iter.learn.packing import Packer
from expert_iter.model.transformer import Network, TransformerConfig

PACKER = Packer(rows=3, row_tokens=40, row_steps=16)
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
    return jax.jit(lambda params, batch: step_log_probs(network, params, batch))


@pytest.fixture(scope="module")
def gradient_of(network):
    """Loss, parts and gradient of a batch by its policy loss, jitted once each."""

    def of(policy):
        config = LossConfig(policy, value_weight=0.5)
        loss = functools.partial(losses.loss, network, config=config)
        return jax.jit(jax.value_and_grad(loss, has_aux=True))

    return {policy: of(policy) for policy in ("steps", "set")}


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
    def read(params, tokens):
        position = jnp.broadcast_to(jnp.arange(LONGEST), tokens.shape)
        causal = jnp.broadcast_to(
            jnp.tril(jnp.ones((LONGEST, LONGEST), bool)), (*tokens.shape, LONGEST)
        )
        hidden, _ = network.hidden(params, tokens, position, causal)
        return network.logits(params, hidden), network.value_logit(params, hidden)

    logits, values = (np.asarray(x, np.float64) for x in read(params, tokens))
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    log_pi = [np.full(len(tree.length), np.nan) for tree in trees]
    value = [np.full(len(tree.length), np.nan) for tree in trees]
    for row, spans in enumerate(asked):
        for number, g, begin, end in spans:
            at = np.arange(max(begin, 1), end)
            log_pi[number][g] = log_probs[row, at - 1, tokens[row, at]].sum()
            value[number][g] = values[row, end - 1]
    return log_pi, value


def where(batch, tree):
    """Row and steps of a tree in a batch."""
    for row in range(len(batch.token_RxT)):
        for g in np.flatnonzero(batch.parent_RxG[row] < 0):
            steps = slice(g, g + len(tree.length))
            inside = (batch.step_RxT[row] >= g) & (batch.step_RxT[row] < steps.stop)
            if np.array_equal(batch.token_RxT[row, inside], tree.token):
                return row, steps
    raise AssertionError("the tree is not in the batch")


def test_packed_trees_are_read_as_each_path_alone(any_network, random_params, trees, batch):
    params = random_params(any_network)
    log_pi, value = jax.jit(lambda p, b: step_log_probs(any_network, p, b))(params, batch)
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

    roomy, _ = Packer(rows=4, row_tokens=55, row_steps=30).pack(trees[::-1])
    log_pi_roomy, value_roomy = jax.jit(lambda p, b: step_log_probs(network, p, b))(params, roomy)
    for tree in trees:
        at, there = where(batch, tree), where(roomy, tree)
        np.testing.assert_allclose(log_pi[at][1:], log_pi_roomy[there][1:], atol=1e-5)
        np.testing.assert_allclose(value[at], value_roomy[there], atol=1e-5)


def slow_loss(trees, log_pi, value_logit, rows, config):
    """The loss's definition, step by step in float64: `(total, policy loss, value loss)`."""
    policy = value = policy_weights = value_weights = 0.0
    for tree, own_log_pi, logit in zip(trees, log_pi, value_logit, strict=True):
        for g in range(len(tree.length)):
            score = own_log_pi[g]
            if config.policy == "set" and tree.in_set[g]:
                among = [
                    np.exp(own_log_pi[h] + tree.correction[h])
                    for h in range(len(tree.length))
                    if tree.in_set[h] and tree.parent[h] == tree.parent[g]
                ]
                score = own_log_pi[g] + tree.correction[g] - np.log(np.sum(among))
            if tree.policy_weight[g]:
                policy -= tree.policy_weight[g] * score
            chance = 1 / (1 + np.exp(-logit[g]))
            y = tree.value_target[g]
            error = -y * np.log(chance) - (1 - y) * np.log(1 - chance)
            value += tree.value_weight[g] * error
            policy_weights += tree.policy_weight[g]
            value_weights += tree.value_weight[g]
    total = policy / rows + config.value_weight * value / rows
    return total, policy / policy_weights, value / value_weights


@pytest.mark.parametrize("policy", ["steps", "set"])
def test_loss_is_its_definition(network, params, trees, batch, gradient_of, policy):
    (total, parts), _ = gradient_of[policy](params, batch)
    config = LossConfig(policy, value_weight=0.5)
    expected = slow_loss(trees, *alone(network, params, trees), PACKER.rows, config)
    means = [loss / weight for loss, weight in (parts["policy_loss"], parts["value_loss"])]
    np.testing.assert_allclose((total, *means), expected, rtol=1e-5)


def test_losses_differ_and_the_value_has_its_weight(params, batch, network, gradient_of):
    steps = gradient_of["steps"](params, batch)[0][0]
    assert abs(steps - gradient_of["set"](params, batch)[0][0]) > 0.1
    heavier = losses.loss(network, params, batch, LossConfig("steps", value_weight=1.5))[0]
    value_loss, weight = gradient_of["steps"](params, batch)[0][1]["value_loss"]
    np.testing.assert_allclose(weight, np.sum(batch.value_weight_RxG) / PACKER.rows, rtol=1e-6)
    np.testing.assert_allclose(heavier - steps, value_loss, rtol=1e-4)


@pytest.mark.parametrize("policy", ["steps", "set"])
def test_gradient_on_steps_and_values_in_closed_form(batch, monkeypatch, policy):
    """By log π: −w, or Σw · softmax − w among the set. By the value's logit: σ(logit) − target."""
    rng = np.random.default_rng(3)
    log_pi = rng.normal(-3, 2, batch.parent_RxG.shape).astype(np.float32)
    logit = rng.normal(size=batch.parent_RxG.shape).astype(np.float32)
    monkeypatch.setattr(losses, "step_log_probs", lambda network, params, batch, where: params)
    config = LossConfig(policy, value_weight=0.7)
    by_log_pi, by_logit = jax.grad(lambda heads: losses.loss(None, heads, batch, config)[0])(
        (jnp.asarray(log_pi), jnp.asarray(logit))
    )
    weight = batch.policy_weight_RxG
    expected = -weight.astype(np.float64)
    if policy == "set":
        for row, parents in enumerate(batch.parent_RxG):
            for parent in set(parents[parents >= 0].tolist()):
                among = np.flatnonzero((parents == parent) & batch.in_set_RxG[row])
                share = np.exp(log_pi[row, among] + batch.correction_RxG[row, among])
                expected[row, among] += weight[row, among].sum() * share / share.sum()
    np.testing.assert_allclose(by_log_pi, expected / PACKER.rows, atol=1e-6)
    error = 1 / (1 + np.exp(-logit)) - batch.value_target_RxG
    expected = 0.7 * batch.value_weight_RxG * error / PACKER.rows
    np.testing.assert_allclose(by_logit, expected, atol=1e-6)


@pytest.mark.parametrize("policy", ["steps", "set"])
def test_gradient_on_parameters_by_finite_differences(params, batch, gradient_of, policy):
    value_and_grad = gradient_of[policy]
    gradient = value_and_grad(params, batch)[1]
    leaves, shape = jax.tree.flatten(gradient)
    for i, leaf in enumerate(leaves):
        norm = jnp.linalg.norm(leaf)
        assert norm > 1e-3, "every parameter matters"
        # Along its own gradient a parameter's slope is the gradient's norm.
        away = [0.01 * x / norm if j == i else jnp.zeros_like(x) for j, x in enumerate(leaves)]
        away = jax.tree.unflatten(shape, away)
        ahead = value_and_grad(jax.tree.map(jnp.add, params, away), batch)[0][0]
        behind = value_and_grad(jax.tree.map(jnp.subtract, params, away), batch)[0][0]
        np.testing.assert_allclose((ahead - behind) / 0.02, norm, rtol=0.01, atol=1e-3)


@pytest.mark.parametrize("policy", ["steps", "set"])
def test_a_trees_gradient_does_not_depend_on_the_rest_of_the_batch(
    params, trees, batch, gradient_of, policy
):
    together = gradient_of[policy](params, batch)[1]
    each = [gradient_of[policy](params, PACKER.pack([tree])[0])[1] for tree in trees]
    total = jax.tree.map(lambda *parts: sum(parts), *each)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), together, total)


@pytest.mark.parametrize("policy", ["steps", "set"])
def test_an_empty_batch_has_no_gradient(params, gradient_of, policy):
    (total, parts), gradient = gradient_of[policy](params, PACKER.pack([])[0])
    assert total == 0 and np.isfinite(list(parts.values())).all()
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradient))


def test_steps_outside_any_set_are_learned_as_such(params, trees, gradient_of):
    """Demonstrations in a batch for the set loss: they have no siblings to be compared with."""
    demonstrations = [dataclasses.replace(tree, in_set=tree.in_set & False) for tree in trees]
    batch, _ = PACKER.pack(demonstrations)
    by_set, by_steps = (gradient_of[policy](params, batch) for policy in ("set", "steps"))
    # Two programs, each rounding in its own way.
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)  # noqa: E731
    jax.tree.map(close, by_set, by_steps)
