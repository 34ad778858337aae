import jax
import numpy as np
import pytest

from expert_iter.learn import batches as batches_lib
from expert_iter.learn.batches import Batches
from expert_iter.learn.packing import Packer
from expert_iter.learn.replay import Replay, ReplayConfig
from expert_iter.pod import collectives, processes
from expert_iter.pod.mesh import one_device
from tests.learn.trees import COLUMNS


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


def batches_of(replay, plays, rehearsal=0.0, packer=None, updates=200):
    packer = packer or Packer(16, 64, 32, COLUMNS)
    return Batches(packer, one_device(), replay, plays, rehearsal, updates, np.random.default_rng)


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


def test_a_batch_is_a_function_of_its_random_generator(replay, plays):
    batches = batches_of(replay, plays, rehearsal=0.15)
    a, c, b = map(batches.make, (5, 6, 5))
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
def test_rehearsal_has_its_share_of_the_tokens(replay, plays, rehearsal):
    batches = batches_of(replay, plays, rehearsal)
    shares, fill = [], []
    for seed in range(20):
        batch = jax.device_get(batches.make(seed))
        sizes = {True: [], False: []}
        for is_play, size in contents(batch):
            sizes[bool(is_play)].append(size)
        fill.append((sum(sizes[True]) + sum(sizes[False])) / (16 * 64))
        shares.append(sum(sizes[True]) / (sum(sizes[True]) + sum(sizes[False])))
    assert abs(np.mean(shares) - rehearsal) < 0.03
    assert np.mean(fill) > 0.9
    assert (plays.drawn == 0) == (rehearsal == 0)


def test_without_trees_all_is_rehearsal(nothing, plays):
    batch = jax.device_get(batches_of(nothing, plays).make(0))
    found = list(contents(batch))
    assert all(is_play for is_play, _ in found)
    assert sum(size for _, size in found) > 0.85 * 16 * 64


def test_a_replay_of_larger_rows_is_learned_in_parts_that_fit_smaller_ones(trees, plays):
    replay = replay_of(trees)
    narrow = Packer(64, 14, 8, COLUMNS)
    assert replay.tokens.max() > narrow.row_tokens
    batch = batches_of(replay, plays, packer=narrow).make(0)
    found = list(contents(jax.device_get(batch)))
    assert len(found) > 40 and max(size for _, size in found) <= 14
    # More than half of what is chosen is learned, so parts of large trees are among it.
    large = replay.tokens > narrow.row_tokens
    assert large.mean() > 0.5 and sum(size for _, size in found) > 0.6 * 64 * 14


def test_a_batch_has_a_tree_at_most_once_and_over_many_batches_all_have_their_turn(trees, plays):
    marked = replay_of(
        tree.with_columns({"value.weight": np.full(len(tree.length), n + 1, np.float32)})
        for n, tree in enumerate(trees)
    )
    batches, seen = batches_of(marked, plays), np.zeros(len(trees))
    for update in range(150):
        batch = jax.device_get(batches.make(update))
        number = batch.columns["value.weight"]
        numbers = number[(batch.parent_RxG < 0) & (number > 0)].astype(int) - 1
        assert len(set(numbers.tolist())) == len(numbers)
        seen[numbers] += 1
    mean = seen.mean()
    assert np.abs(seen - mean).max() < 5 * np.sqrt(mean)
    sizes = np.array([tree.size for tree in trees])
    small, large = seen[sizes < np.median(sizes)].mean(), seen[sizes > np.median(sizes)].mean()
    # The last trees to be placed, the smallest, are those that find no room.
    assert 0.75 * large < small <= 1.1 * large


def test_processes_that_have_a_part_of_the_trees_each_pack_the_same_batches(
    trees, random_tree, as_processes, monkeypatch
):
    """Four of them, whose devices hold four of the rows each: these are as one process has them.
    They tell each other the trees of three updates at once, and begin where a run was resumed.
    """
    first, last = 2, 10
    alone = batches_of(replay_of(trees), Plays(random_tree), rehearsal=0.2, updates=last)
    wanted = [alone.make(update) for update in range(first, last)]

    def own_rows(_, count):
        return np.arange(count).reshape(4, -1)[processes.index()]

    def work():
        replay = Replay(ReplayConfig())
        own = range(processes.index(), len(trees), 4)
        replay.add({row: [trees[row]] for row in own})
        batches = batches_of(replay, Plays(random_tree), rehearsal=0.2, updates=last)
        return [batches.make(update) for update in range(first, last)]

    merged, told = collectives.gather_dicts, []

    def tell(own):
        told.append(processes.index())
        return merged(own)

    monkeypatch.setattr(collectives, "gather_dicts", tell)
    monkeypatch.setattr(batches_lib, "held_rows", own_rows)
    monkeypatch.setattr(batches_lib, "_TOLD_AT_ONCE", 3 * 16 * 64)
    for number, made in enumerate(as_processes(4, work)):
        rows = slice(4 * number, 4 * number + 4)
        for batch, whole in zip(made, wanted, strict=True):
            jax.tree.map(lambda x, y: np.testing.assert_array_equal(x[rows], y[rows]), batch, whole)  # noqa: B023
    assert sorted(told) == sorted(4 * [0, 1, 2, 3])  # once for replay, then for 3, 3 and 2 updates
