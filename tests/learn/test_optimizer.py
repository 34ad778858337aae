import jax
import jax.numpy as jnp
import numpy as np
import pytest

from expert_iter.learn.optimizer import OptimizerConfig, make_optimizer, schedule
from expert_iter.pod.mesh import one_device

FLAT = dict(learning_rate=0.01, warmup_updates=0, final_fraction=1.0, weight_decay=0.0)


def updates(config, gradients, params, warm_updates=10**6, round_updates=0):
    """The changes that a sequence of gradients makes; the parameters are held still."""
    optimizer = make_optimizer(config, warm_updates, round_updates, one_device())
    state = optimizer.init(params)
    for gradient in gradients:
        changes, state = optimizer.update(gradient, state, params)
        yield changes


def test_schedule_of_warm_start_and_rounds():
    """Each rises in a line to its peak and falls as half a cosine to a fraction of that."""
    config = OptimizerConfig(
        learning_rate=0.01, round_learning_rate=0.004, warmup_updates=10, final_fraction=0.2
    )
    rate = schedule(config, warm_updates=110, round_updates=210)
    falls = {0.25: 0.2 + 0.8 * (1 + np.cos(np.pi / 4)) / 2, 0.5: 0.6, 0.75: 0.2 + 0.8 * 0.1464466}
    warm = {0: 0.0, 5: 0.5, 10: 1.0, 35: falls[0.25], 60: falls[0.5], 85: falls[0.75]}
    for update, share in warm.items():
        np.testing.assert_allclose(rate(update), 0.01 * share, rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(rate(109), 0.01 * 0.2, rtol=0.01)
    rounds = {0: 0.0, 5: 0.5, 10: 1.0, 60: falls[0.25], 110: falls[0.5], 160: falls[0.75], 210: 0.2}
    for update, share in rounds.items():
        np.testing.assert_allclose(rate(110 + update), 0.004 * share, rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(rate(10_000), 0.004 * 0.2, rtol=1e-6)


def test_schedule_without_warm_up_or_with_few_updates():
    assert schedule(OptimizerConfig(learning_rate=0.01, warmup_updates=0), 100, 100)(0) == 0.01
    short = schedule(OptimizerConfig(learning_rate=0.01, warmup_updates=50), 5, 5)
    np.testing.assert_allclose(short(4), 0.01 * 4 / 50, rtol=1e-5)
    none = schedule(OptimizerConfig(round_learning_rate=0.01, warmup_updates=0), 0, 100)
    np.testing.assert_allclose(none(0), 0.01, rtol=1e-6)


def test_the_optimizer_follows_the_schedule():
    """With a constant gradient Adam's step is the learning rate itself."""
    config = OptimizerConfig(name="adamw", weight_decay=0.0, warmup_updates=3)
    rate, ones = schedule(config, 5, 8), {"head": jnp.ones(1)}
    steps = [-c["head"][0] for c in updates(config, [ones] * 13, {"head": jnp.zeros(1)}, 5, 8)]
    np.testing.assert_allclose(steps, [rate(n) for n in range(13)], rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("clip", [1.0, 1e9])
def test_adam_with_a_bounded_gradient_norm(clip):
    """Kingma and Ba 2015 with decoupled decay (Loshchilov and Hutter 2019), by their formulas."""
    config = OptimizerConfig(
        name="adamw", beta1=0.8, beta2=0.9, clip_norm=clip, **FLAT | dict(weight_decay=0.1)
    )
    gradients = [np.array([30.0, -40.0]), np.array([0.3, 0.4]), np.array([-3.0, 0.5])]
    params = np.array([2.0, -1.0])
    got = updates(
        config, [{"head": jnp.asarray(g)} for g in gradients], {"head": jnp.asarray(params)}
    )
    m = v = np.zeros(2)
    for n, (gradient, changes) in enumerate(zip(gradients, got, strict=True), 1):
        gradient = gradient * min(1, clip / np.linalg.norm(gradient))
        m, v = 0.8 * m + 0.2 * gradient, 0.9 * v + 0.1 * gradient**2
        step = (m / (1 - 0.8**n)) / (np.sqrt(v / (1 - 0.9**n)) + 1e-8)
        np.testing.assert_allclose(changes["head"], -0.01 * (step + 0.1 * params), rtol=1e-4)


def named(tree):
    """Leaves by the last name on their path; norms by the norm's own."""
    leaves = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        keys = [key.key for key in path]
        leaves[keys[-1] if keys[-1] != "scale" else keys[-2]] = leaf
    return leaves


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_matrices_are_decayed_and_norms_and_value_head_are_not(params, name):
    config = OptimizerConfig(name=name, **FLAT | dict(weight_decay=0.1))
    nothing = jax.tree.map(jnp.zeros_like, params)
    (changes,) = updates(config, [nothing], params)
    values, spared = named(params), set()
    for leaf, change in named(changes).items():
        if (change == 0).all():
            spared.add(leaf)
        else:
            np.testing.assert_allclose(change, -0.01 * 0.1 * values[leaf], rtol=1e-4, err_msg=leaf)
    plain = {"attention_norm", "mlp_norm", "final_norm", "value_weight", "value_bias"}
    assert spared == (plain | {"embedding"} if name == "muon" else plain)


@pytest.fixture
def gradient(params):
    leaves, shape = jax.tree.flatten(params)
    rng = np.random.default_rng(0)
    return jax.tree.unflatten(
        shape, [jnp.asarray(rng.normal(size=x.shape), x.dtype) for x in leaves]
    )


def test_muon_orthogonalises_each_layers_matrices(params, gradient):
    """Newton-Schulz brings every singular value near 1 (Jordan et al. 2024), layer by layer."""
    config = OptimizerConfig(muon_scale=3.0, clip_norm=1e9, **FLAT)
    (changes,) = updates(config, [gradient], params)
    found = named(changes)
    for name in ("q", "k", "v", "out", "gate", "up", "down"):
        layers, reduction, output = found[name].shape
        scale = 0.01 * 3.0 * max(1, output / reduction) ** 0.5
        for layer in range(layers):
            singular = np.linalg.svd(found[name][layer] / scale, compute_uv=False)
            assert 0.5 < singular.min() and singular.max() < 1.3, (name, layer)
            # Downhill: against the gradient.
            assert np.vdot(found[name][layer], named(gradient)[name][layer]) < 0
    for name in ("embedding", "final_norm", "value_weight"):
        # The rest is Adam's (with Nesterov's momentum): first steps are of one size.
        step = -found[name] * np.sign(named(gradient)[name])
        np.testing.assert_allclose(step, step.mean(), rtol=0.01)
        assert 0.01 < step.mean() < 0.02


def test_muon_keeps_layers_apart(params, gradient):
    """One layer's gradient does not steer another's matrices."""
    config = OptimizerConfig(clip_norm=1e9, **FLAT)
    larger = jax.tree.map(lambda x: x, gradient)
    larger["blocks"]["gate"] = gradient["blocks"]["gate"].at[0].set(0.1)
    before, after = (
        next(updates(config, [g], params))["blocks"]["gate"] for g in (gradient, larger)
    )
    assert jnp.abs(before[0] - after[0]).max() > 1e-3
    np.testing.assert_allclose(before[1], after[1], rtol=1e-5, atol=1e-8)
