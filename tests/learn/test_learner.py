import dataclasses
import functools
import re
import subprocess
import sys
from importlib.util import find_spec

import jax
import numpy as np
import pytest

from expert_iter.errors import UserError
from expert_iter.learn import learner as learner_lib
from expert_iter.learn.learner import Learner, LearnerConfig
from expert_iter.learn.lessons import columns_of
from expert_iter.learn.loss import step_outputs
from expert_iter.learn.optimizer import OptimizerConfig
from expert_iter.learn.step_tree import StepTreeBuilder
from expert_iter.model.transformer import Network
from expert_iter.model.transformer_config import TransformerConfig
from expert_iter.pod.mesh import Layout, MeshConfig, one_device
from tests.objectives import objectives

POLICIES = "improved", "set_normalised"
OPTIMIZER = OptimizerConfig(name="adamw", learning_rate=0.02, warmup_updates=3, weight_decay=0.0)


def small_learner(network, policy="improved", optimizer=OPTIMIZER, **changes):
    config = LearnerConfig(**dict(rows=1, row_tokens=16, row_steps=8) | changes)
    updates = dict(warm_updates=80, round_updates=0)
    made = objectives(policy, "value")
    return Learner(network, config, made, optimizer, **updates, layout=one_device())


@pytest.fixture(scope="module", params=["improved by Muon", "set_normalised by Adam"])
def policy(request):
    return request.param.split()[0]


@pytest.fixture(scope="module")
def learner(network, policy):
    name = {"improved": "muon", "set_normalised": "adamw"}[policy]
    return small_learner(network, policy, dataclasses.replace(OPTIMIZER, name=name))


@pytest.fixture(scope="module")
def forked():
    """A prompt and three steps after it; the likeliest of them is continued by one more."""
    builder = StepTreeBuilder([1, 4], columns_of(objectives(*POLICIES, "value")))

    def learn(step, weight, value):
        for policy in POLICIES:
            builder.give([step], f"{policy}.weight", weight)
        builder.give([step], "value.weight", 1.0)
        builder.give([step], "value.target", value)

    learn(0, 0.0, 1.0)
    for k, weight in enumerate([0.7, 0.2, 0.1]):
        step = builder.add(0, (5 + k, 3))
        learn(step, weight, float(k == 0))
        builder.give([step], "set_normalised.in_set", True)
        builder.give([step], "set_normalised.correction", 0.5 * k)
    learn(builder.add(1, (9, 2)), 1.0, 1.0)
    return builder.build()


def test_one_batch_can_be_overfitted(network, learner, policy, forked):
    state = learner.init(network.init(jax.random.key(0)))
    batch, _ = learner.packer.pack([forked])
    history = []
    for _ in range(80):
        state, parts = learner.update(state, batch)
        history.append(parts)
    assert state.updates == 80
    weights = np.array([0.7, 0.2, 0.1])
    # No policy does better than the targets' own entropy; the step that is certain costs nothing.
    floor = -np.sum(weights * np.log(weights)) / 2
    first, last = history[0], history[-1]
    assert first[f"{policy}_loss"] > floor + 0.1 and first["value_loss"] > 0.6
    assert floor - 1e-5 <= last[f"{policy}_loss"] < floor + 0.02
    assert last["value_loss"] < 0.05
    assert last["gradient_norm"] < 0.1 < first["gradient_norm"]
    # What was learned is the targets themselves.
    log_pi = step_outputs(network, state.params, batch).log_pi_RxG[0, 1:4]
    correction = batch.columns["set_normalised.correction"] if policy == "set_normalised" else 0.0
    chance = np.exp(log_pi + np.broadcast_to(correction, (1, 8))[0, 1:4])
    np.testing.assert_allclose(chance / chance.sum(), weights, atol=0.05)


def test_an_update_is_deterministic(learner, forked):
    batch, _ = learner.packer.pack([forked])
    ends = []
    for _ in range(2):
        state = learner.init(learner.network.init(jax.random.key(1)))
        for _ in range(3):
            state, _ = learner.update(state, batch)
        ends.append(jax.device_get(state))
    jax.tree.map(np.testing.assert_array_equal, *ends)


def test_the_mean_of_the_newest_parameters_searches(network, forked):
    """The plain mean at first, and then one that forgets a fifth at each update."""
    optimizer = dataclasses.replace(OPTIMIZER, average=0.8)
    learner = small_learner(network, optimizer=optimizer)
    state, (batch, _) = learner.init(network.init(jax.random.key(1))), learner.packer.pack([forked])
    known = []
    for _ in range(8):
        state, _ = learner.update(state, batch)
        known.append(jax.device_get(state.trained))
        mean = jax.tree.map(lambda *x: np.mean(x, axis=0), *known[:5])
        for newer in known[5:]:
            mean = jax.tree.map(lambda old, new: 0.8 * old + 0.2 * new, mean, newer)
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), state.params, mean
        )
    newest, searching = (jax.tree.leaves(tree)[0] for tree in (state.trained, state.params))
    assert np.abs(newest - searching).max() > 1e-3


def test_without_a_mean_the_newest_parameters_search(learner, forked):
    assert learner.abstract_state().averaged == {}
    state = learner.init(learner.network.init(jax.random.key(1)))
    state, _ = learner.update(state, learner.packer.pack([forked])[0])
    jax.tree.map(np.testing.assert_array_equal, state.params, state.trained)


def test_a_mean_of_coarse_numbers_is_refused(network):
    coarse = Network(
        dataclasses.replace(network.config, param_dtype="bfloat16"), network.vocab_size
    )
    small_learner(coarse)
    with pytest.raises(UserError, match="needs model.param_dtype=float32, not bfloat16"):
        small_learner(coarse, optimizer=dataclasses.replace(OPTIMIZER, average=0.8))


def test_rows_that_the_devices_cannot_share_are_refused(network):
    config = LearnerConfig(rows=6, row_tokens=16, row_steps=8)
    layout = Layout(MeshConfig(data=2, fsdp=2))
    with pytest.raises(UserError, match=r"learner\.rows \(6\) must be a multiple of the 4 parts"):
        Learner(network, config, objectives(), OPTIMIZER, 1, 0, layout)


@pytest.mark.parametrize("policy", POLICIES)
def test_devices_tell_each_other_gradients_alone(network, policy):
    """With whole weights on each device nothing is gathered: what is told, in one piece, is as
    large as the parameters and the loss's figures.
    """
    config, layout = LearnerConfig(rows=8, row_tokens=64, row_steps=8), Layout(MeshConfig(data=8))
    learner = Learner(network, config, objectives(policy, "value"), OPTIMIZER, 1, 0, layout)
    state = learner.abstract_state()
    batch = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=layout.rows),
        learner.packer.pack([])[0],
    )
    program = learner.update.lower(state, batch).compile().as_text()
    kinds = "all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute"
    talk = re.findall(rf"= (.*) ({kinds})(?:-start)?\(", program)
    assert talk and {kind for _, kind in talk} == {"all-reduce"}
    shapes = [shape for told, _ in talk for shape in re.findall(r"f32\[([\d,]*)\]", told)]
    amount = sum(int(np.prod([int(n) for n in shape.split(",") if n])) for shape in shapes)
    size = sum(x.size for x in jax.tree.leaves(state.trained))
    assert len(shapes) == 1 and amount <= size + 20


def test_what_is_kept_for_the_backward_pass_is_cut_as_weights_are():
    """Of 3 layers, the stream and its two summands, of 64 tokens a device in place of its rows'
    256.
    """
    shape = dict(num_layers=3, width=48, num_heads=4, num_kv_heads=4, head_dim=8, mlp_width=80)
    network = Network(TransformerConfig(**shape), vocab_size=16)
    config = LearnerConfig(rows=8, row_tokens=64, row_steps=8)
    layout = Layout(MeshConfig(data=1, fsdp=2, tensor=4))
    learner = Learner(network, config, objectives("improved", "value"), OPTIMIZER, 1, 0, layout)
    program = learner.compile().as_text()
    assert "f32[3,64,48]" in program
    assert "f32[3,256,48]" not in program and "f32[3,512,48]" not in program


TPU_MEMORY = """
from expert_iter.plan import topology
topology.set_environment()
import jax
jax.config.update("jax_platforms", "cpu")
from expert_iter.learn.learner import Learner, LearnerConfig
from expert_iter.learn.optimizer import OptimizerConfig
from expert_iter.model.transformer import Network
from expert_iter.model.transformer_config import TransformerConfig
from expert_iter.pod.mesh import Layout, MeshConfig
from tests.objectives import objectives

shape = dict(num_layers=2, width=256, num_heads=4, num_kv_heads=4, head_dim=64, mlp_width=512)
network = Network(TransformerConfig(**shape, dtype="bfloat16"), vocab_size=1 << 17)
config = LearnerConfig(rows=8, row_tokens=1024, row_steps=8)
layout = Layout(MeshConfig(data=1, fsdp=2, tensor=4), topology.devices_of("v5e:2x4"))
made = objectives("improved", "value")
learner = Learner(network, config, made, OptimizerConfig(name="adamw"), 1, 0, layout)
print(learner.compile().memory_analysis().temp_size_in_bytes)
"""


@pytest.mark.slow
@pytest.mark.skipif(find_spec("libtpu") is None, reason="libtpu, TPU's compiler, is not installed")
def test_on_tpus_logits_of_the_whole_vocabulary_are_never_there():
    """All that is temporary is smaller than they alone."""
    # In a process of its own, whose environment the compiler needs.
    done = subprocess.run((sys.executable, "-c", TPU_MEMORY), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    logits = (8 // 2 * 1024) * ((1 << 17) // 4) * 4  # float32 bytes on a device
    assert int(done.stdout) < logits


@pytest.mark.parametrize("small", [0, 6, 1000])
def test_means_over_devices_are_told_in_one_piece_or_several(monkeypatch, small):
    monkeypatch.setattr(learner_lib, "_SMALL", small)
    layout, rng = Layout(MeshConfig(data=4, fsdp=2)), np.random.default_rng(0)
    sizes = {"a": (8,), "b": (8, 2, 3), "c": (8, 7), "d": (8, 2)}
    tree = {name: rng.normal(size=size).astype(np.float32) for name, size in sizes.items()}
    rows, everywhere = layout.rows.spec, layout.everywhere.spec
    mean = jax.shard_map(
        lambda own: learner_lib._mean(jax.tree.map(lambda x: x[0], own), rows[0]),
        mesh=layout.mesh,
        in_specs=rows,
        out_specs=everywhere,
        check_vma=False,
    )
    close = functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-6)
    jax.tree.map(lambda x, y: close(x, y.mean(axis=0)), jax.jit(mean)(tree), tree)
