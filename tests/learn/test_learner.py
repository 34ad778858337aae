import dataclasses
import re

import jax
import numpy as np
import pytest

from expert_iter.errors import UserError
from expert_iter.learn.learner import Learner, LearnerConfig
from expert_iter.learn.losses import LossConfig, step_log_probs
from expert_iter.learn.optimizer import OptimizerConfig
from expert_iter.learn.replay import Replay, ReplayConfig
from expert_iter.learn.step_tree import StepTreeBuilder
from expert_iter.pod import processes
from expert_iter.pod.mesh import Layout, MeshConfig, one_device

OPTIMIZER = OptimizerConfig(name="adamw", learning_rate=0.02, warmup_updates=3, weight_decay=0.0)


def small_learner(network, policy="steps", optimizer=OPTIMIZER, **changes):
    config = LearnerConfig(**dict(rows=1, row_tokens=16, row_steps=8) | changes)
    updates = dict(warm_updates=80, round_updates=0)
    return Learner(network, config, LossConfig(policy), optimizer, **updates, layout=one_device())


@pytest.fixture(scope="module", params=["steps by Muon", "set by Adam"])
def policy(request):
    return request.param.split()[0]


@pytest.fixture(scope="module")
def learner(network, policy):
    name = {"steps": "muon", "set": "adamw"}[policy]
    return small_learner(network, policy, dataclasses.replace(OPTIMIZER, name=name))


@pytest.fixture(scope="module")
def forked():
    """A prompt and three steps after it; the likeliest of them is continued by one more."""
    builder = StepTreeBuilder([1, 4])
    for k, weight in enumerate([0.7, 0.2, 0.1]):
        step = builder.add(0, (5 + k, 3))
        builder.learn_policy(step, weight)
        builder.compare(step, 0.5 * k)
        builder.learn_value(step, float(k == 0))
    last = builder.add(1, (9, 2))
    builder.learn_policy(last, 1.0)
    builder.learn_value(last, 1.0)
    builder.learn_value(0, 1.0)
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
    assert first["policy_loss"] > floor + 0.1 and first["value_loss"] > 0.6
    assert floor - 1e-5 <= last["policy_loss"] < floor + 0.02
    assert last["value_loss"] < 0.05
    assert last["gradient_norm"] < 0.1 < first["gradient_norm"]
    # What was learned is the targets themselves.
    log_pi = step_log_probs(network, state.params, batch)[0][0, 1:4]
    chance = np.exp(log_pi + batch.correction_RxG[0, 1:4] * (policy == "set"))
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


class Plays:
    """Warm-start plays that can be told from searched trees by their first token."""

    mean_size = 9.0

    def __init__(self, random_tree):
        self.random_tree, self.drawn = random_tree, 0

    def draw(self, count, rng):
        self.drawn += count
        trees = [self.random_tree(rng, steps=3, prompt=5) for _ in range(count)]
        for tree in trees:
            tree.token[0] = -1
        own = range(processes.index(), count, processes.count())
        return {i: trees[i] for i in own}


@pytest.fixture
def plays(random_tree):
    return Plays(random_tree)


@pytest.fixture(scope="module")
def trees(random_tree):
    rng = np.random.default_rng(0)
    return [random_tree(rng, steps=rng.integers(4, 12)) for _ in range(300)]


BIG = dict(rows=16, row_tokens=64, row_steps=32)


def replay_of(trees):
    """All trees in the window, which this process has all."""
    replay = Replay(ReplayConfig())
    replay.add(dict(enumerate([tree] for tree in trees)))
    return replay


@pytest.fixture(scope="module")
def replay(trees):
    return replay_of(trees)


@pytest.fixture(scope="module")
def nothing():
    return replay_of([])


def test_a_batch_is_a_function_of_its_random_generator(network, replay, plays):
    learner = small_learner(network, **BIG)
    a, used_a = learner.batch(replay, plays, np.random.default_rng(5))
    b, used_b = learner.batch(replay, plays, np.random.default_rng(5))
    c, _ = learner.batch(replay, plays, np.random.default_rng(6))
    assert used_a == used_b
    jax.tree.map(np.testing.assert_array_equal, a, b)
    assert (a.token_RxT != c.token_RxT).any()


def contents(batch):
    """(is it a play, its tokens) of each tree in the batch."""
    for row in range(len(batch.token_RxT)):
        # Only a prompt's first token is the first of its text.
        starts = np.flatnonzero((batch.step_RxT[row] >= 0) & (batch.position_RxT[row] == 0))
        used = int((batch.step_RxT[row] >= 0).sum())
        ends = [*starts[1:], used] if used else []  # a row may have stayed empty
        for begin, end in zip(starts, ends, strict=True):
            yield batch.token_RxT[row, begin] == -1, end - begin


@pytest.mark.parametrize("rehearsal", [0.0, 0.15, 0.5])
def test_rehearsal_has_its_share_of_the_tokens(network, replay, plays, rehearsal):
    learner = small_learner(network, rehearsal=rehearsal, **BIG)
    shares, fill = [], []
    for seed in range(20):
        batch, used = learner.batch(replay, plays, np.random.default_rng(seed))
        batch = jax.device_get(batch)
        sizes = {True: [], False: []}
        for is_play, size in contents(batch):
            sizes[bool(is_play)].append(size)
        assert used == len(sizes[False])
        fill.append((sum(sizes[True]) + sum(sizes[False])) / (16 * 64))
        shares.append(sum(sizes[True]) / (sum(sizes[True]) + sum(sizes[False])))
    assert abs(np.mean(shares) - rehearsal) < 0.03
    assert np.mean(fill) > 0.9
    assert (plays.drawn == 0) == (rehearsal == 0)


def test_without_trees_all_is_rehearsal(network, nothing, plays):
    learner = small_learner(network, rehearsal=0.0, **BIG)
    batch, used = learner.batch(nothing, plays, np.random.default_rng(0))
    batch = jax.device_get(batch)
    found = list(contents(batch))
    assert used == 0 and all(is_play for is_play, _ in found)
    assert sum(size for _, size in found) > 0.85 * 16 * 64


def test_a_play_that_no_row_can_hold_is_said(network, nothing, plays):
    with pytest.raises(UserError, match=r"learner\.row_tokens"):
        small_learner(network, row_tokens=6).batch(nothing, plays, np.random.default_rng(0))


def test_a_batch_has_a_tree_at_most_once_and_over_many_batches_all_have_their_turn(
    network, trees, plays
):
    learner = small_learner(network, rehearsal=0.0, **BIG)
    marked = replay_of(
        dataclasses.replace(tree, correction=np.full(len(tree.length), n + 1, np.float32))
        for n, tree in enumerate(trees)
    )
    seen, batches = np.zeros(len(trees)), 150
    for seed in range(batches):
        batch, used = learner.batch(marked, plays, np.random.default_rng(seed))
        batch = jax.device_get(batch)
        roots = (batch.parent_RxG < 0) & (batch.correction_RxG > 0)
        numbers = batch.correction_RxG[roots].astype(int) - 1
        assert len(set(numbers.tolist())) == len(numbers) == used
        seen[numbers] += 1
    mean = seen.mean()
    assert np.abs(seen - mean).max() < 5 * np.sqrt(mean)
    sizes = np.array([tree.size for tree in trees])
    small, large = seen[sizes < np.median(sizes)].mean(), seen[sizes > np.median(sizes)].mean()
    # The last trees to be placed, the smallest, are those that find no room.
    assert 0.75 * large < small <= 1.1 * large


def test_processes_that_have_a_part_of_the_trees_each_pack_the_same_batch(
    network, trees, random_tree, as_processes, monkeypatch
):
    """Four of them, whose devices hold four of the rows each: these are as one process has them."""
    learner = small_learner(network, rehearsal=0.2, **BIG)
    alone, used = learner.batch(replay_of(trees), Plays(random_tree), np.random.default_rng(3))

    def own_rows(_, count):
        return np.arange(count).reshape(4, -1)[processes.index()]

    def work():
        replay = Replay(ReplayConfig())
        own = range(processes.index(), len(trees), 4)
        replay.add({row: [trees[row]] for row in own})
        return learner.batch(replay, Plays(random_tree), np.random.default_rng(3))

    monkeypatch.setattr("expert_iter.learn.learner.held_rows", own_rows)
    for number, (batch, used_there) in enumerate(as_processes(4, work)):
        rows = slice(4 * number, 4 * number + 4)
        assert used_there == used
        jax.tree.map(lambda x, y: np.testing.assert_array_equal(x[rows], y[rows]), batch, alone)  # noqa: B023


def test_rows_that_the_devices_cannot_share_are_refused(network):
    config = LearnerConfig(rows=6, row_tokens=16, row_steps=8)
    layout = Layout(MeshConfig(data=2, fsdp=2))
    with pytest.raises(UserError, match=r"learner\.rows \(6\) must be a multiple of the 4 parts"):
        Learner(network, config, LossConfig(), OPTIMIZER, 1, 0, layout)


@pytest.mark.parametrize("policy", ["steps", "set"])
def test_devices_tell_each_other_gradients_alone(network, policy):
    """With whole weights on each device nothing is gathered: what is talked about is as large as
    the parameters and the loss's parts.
    """
    config, layout = LearnerConfig(rows=8, row_tokens=64, row_steps=8), Layout(MeshConfig(data=8))
    learner = Learner(network, config, LossConfig(policy), OPTIMIZER, 1, 0, layout)
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
    assert amount <= size + 20  # a scan over layers sends one at a time
