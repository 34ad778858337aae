"""One device and eight, sharded in three ways: the same trees and losses, no needless messages."""

import re

import jax
import numpy as np
import pytest

from expert_iter import loop
from expert_iter.assembly import assemble
from expert_iter.config import default_config, settings
from expert_iter.errors import UserError
from expert_iter.load import trained_params
from expert_iter.pod.mesh import Layout, MeshConfig, held_rows, own_part, own_rows, put
from expert_iter.run import Run
from expert_iter.storage import metrics

SMALL = {
    "task.train_size": 64,
    "task.validation_size": 8,
    "task.test_size": 8,
    "model.width": 16,
    "model.num_heads": 4,
    "model.num_kv_heads": 2,
    "model.head_dim": 8,
    "model.mlp_width": 32,
    "model.num_layers": 2,
    "warm_start.updates": 3,
    "learner.rows": 8,
    "learner.row_tokens": 64,
    "learner.row_steps": 16,
    "learner.updates_per_round": 2,
    "run.rounds": 3,
    "run.problems_per_round": 16,
    "run.batch_size": 8,
    "search.num_simulations": 3,
    "search.num_candidates": 3,
}
LAYOUTS = {
    "data=8": dict(data=8),
    "data=4,fsdp=2": dict(data=4, fsdp=2),
    "data=2,fsdp=2,tensor=2": dict(data=2, fsdp=2, tensor=2),
    "tensor-parallel search": dict(data=2, fsdp=2, tensor=2, search="tensor"),
}


def make_parts(workdir, **mesh):
    config = default_config("countdown")
    config.update_from_flattened_dict(SMALL | {f"mesh.{key}": x for key, x in mesh.items()})
    workdir.mkdir(exist_ok=True)
    return assemble(settings(config), workdir)


def played(workdir, **mesh):
    """The trees of one search, what a run of three rounds noted and learned, its mesh, and the
    programs that searched.
    """
    parts = make_parts(workdir, **mesh)
    problems = parts.task.problems("train")[:8]
    start = put(parts.initial_params(), parts.layout.learning(parts.network.abstract_params()))
    expert = parts.expert()
    programs = remember_programs(expert._player._search)
    found = next(expert.searches(start, [(problems, jax.random.key(5))]))
    run = Run(parts, workdir)
    plays = parts.plays(problems)
    loop.warm_start(run, plays)
    for number in (1, 2, 3):
        loop.self_play(run, expert, run.parts.task.problems("train"), number)
        loop.learn(run, plays, number)
    run.close()
    noted, learned = metrics.read(workdir), trained_params(workdir)
    return found, noted, learned, parts.layout.mesh, programs


def remember_programs(search):
    """The text of each program that a search runs, once it has run."""
    texts = {}

    def remembered(name):
        program, compiled = getattr(search, name), {}

        def run(*args):
            shapes = str(jax.tree.map(jax.numpy.shape, args))
            if shapes not in compiled:
                compiled[shapes] = program.lower(*args).compile()
                texts.setdefault(name, compiled[shapes].as_text())
            return compiled[shapes](*args)

        return run

    for name in ("start", "plant", "expand", "accept", "finish"):
        setattr(search, name, remembered(name))
    return texts


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return played(tmp_path_factory.mktemp("one") / "run", data=1)


COLLECTIVE = re.compile(
    r"(all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(?:-start)?\("
)


def groups_of(line, devices=8):
    """The sets of devices that talk to each other in a line of HLO."""
    if found := re.search(r"replica_groups=\{(\{[\d,{} ]*\})\}", line):
        return [
            {int(n) for n in group.split(",")} for group in re.findall(r"\{([\d, ]+)\}", found[1])
        ]
    if found := re.search(
        r"replica_groups=mesh\[(.*?)\](?:, device_ids=\((.*?)\))? \{(.*?)\}", line
    ):
        axes = dict(re.findall(r"'(\w+)'=(\d+)", found[1]))
        ids = np.arange(devices)
        if iota := re.match(r"\[([\d,]+)\](?:T\(([\d,]+)\))?", found[2] or ""):
            ids = ids.reshape([int(n) for n in iota[1].split(",")])
            ids = ids.transpose([int(n) for n in iota[2].split(",")]) if iota[2] else ids
        ids = ids.reshape([int(size) for size in axes.values()])
        along = [list(axes).index(name) for name in re.findall(r"'(\w+)'", found[3])]
        last = range(ids.ndim - len(along), ids.ndim)
        groups = np.moveaxis(ids, along, last)
        size = int(np.prod(groups.shape[last.start :]))
        return [set(group) for group in groups.reshape(-1, size).tolist()]
    if found := re.search(r"replica_groups=\[(\d+),(\d+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", line):
        shape = [int(n) for n in found[3].split(",")]
        ids = np.arange(devices).reshape(shape)
        if found[4]:
            ids = ids.transpose([int(n) for n in found[4].split(",")])
        return [set(group) for group in ids.reshape(int(found[1]), int(found[2])).tolist()]
    if found := re.search(r"source_target_pairs=\{(.*?)\}\}", line):
        return [{int(a), int(b)} for a, b in re.findall(r"\{(\d+),(\d+)", found[0])]
    raise AssertionError(f"no devices in: {line}")


SLOW = "data=8", "data=4,fsdp=2", "tensor-parallel search"  # the one left cuts along every axis


@pytest.mark.parametrize(
    "layout",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in LAYOUTS],
)
def test_trees_and_losses_do_not_depend_on_the_layout(alone, layout, tmp_path):
    ours, lines, params, mesh, programs = played(tmp_path / "run", **LAYOUTS[layout])
    theirs, *others = alone

    assert ours.problems == theirs.problems
    np.testing.assert_array_equal(ours.rows, theirs.rows)
    # Whether in lock step with others or not is in the bill.
    trees = [jax.tree.leaves(played.trees._replace(bill=())) for played in (ours, theirs)]
    for one, other in zip(*trees, strict=True):
        exact = np.asarray(one).dtype.kind in "ib"
        np.testing.assert_allclose(one, other, rtol=0 if exact else 1e-4, atol=1e-5)
    np.testing.assert_array_equal(ours.trees.bill.generated, theirs.trees.bill.generated)

    for line, other in zip(lines, others[0], strict=True):
        for name, value in line.items():
            if "loss" in name or name in ("search/tokens", "search/solved", "search/nodes"):
                np.testing.assert_allclose(value, other[name], rtol=1e-5, err_msg=name)
    for one, other in zip(jax.tree.leaves(params), jax.tree.leaves(others[1]), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-3)  # Muon magnifies rounding

    # No row waits for another: what talk there is is that of a network sharded along `tensor`.
    # Parameters are gathered before.
    place = {int(d.id): at for at, d in np.ndenumerate(mesh.devices)}
    talk = [
        line for text in programs.values() for line in text.splitlines() if COLLECTIVE.search(line)
    ]
    for line in talk:
        for group in groups_of(line):
            assert len({place[device][:2] for device in group}) == 1, line
    assert bool(talk) == (layout == "tensor-parallel search")


def test_rows_of_a_process_and_arrays_there_and_back():
    layout = Layout(MeshConfig(data=2, fsdp=2, tensor=2))
    x = np.arange(24).reshape(8, 3)
    cut = put(x, layout.rows)
    assert {shard.data.shape for shard in cut.addressable_shards} == {(2, 3)}
    np.testing.assert_array_equal(own_part(cut), x)
    for sharding in (layout.rows, layout.search_rows):
        assert held_rows(sharding, 8).tolist() == own_rows(sharding, 8).tolist() == list(range(8))
    assert (layout.row_shards, layout.search_shards) == (4, 8)
    assert Layout(MeshConfig(data=2, tensor=4, search="tensor")).search_shards == 2


def test_parameters_are_cut_and_what_cannot_be_is_whole():
    layout = Layout(MeshConfig(data=1, fsdp=2, tensor=4))
    shapes = {
        "embedding": (64, 16),
        "blocks": {"attention": {"q": (2, 16, 32), "k": (2, 16, 6)}, "gate": (2, 16, 40)},
        "value_weight": (16,),
    }
    tree = jax.tree.map(
        lambda shape: jax.ShapeDtypeStruct(shape, np.float32),
        shapes,
        is_leaf=lambda x: type(x) is tuple,
    )
    part = lambda shardings: jax.tree.map(  # noqa: E731
        lambda leaf, sharding: sharding.shard_shape(leaf.shape), tree, shardings
    )
    assert part(layout.learning(tree)) == {
        "embedding": (16, 8),
        "blocks": {"attention": {"q": (2, 8, 8), "k": (2, 8, 6)}, "gate": (2, 8, 10)},
        "value_weight": (16,),
    }
    assert part(layout.searching(tree)) == jax.tree.map(lambda leaf: leaf.shape, tree)


def test_an_array_of_another_name_is_refused():
    """It would lie whole on every device, and nobody would know."""
    layout = Layout(MeshConfig(fsdp=2))
    part = {"attention": {"q": np.zeros((2, 16, 32))}}  # without "blocks"
    with pytest.raises(KeyError, match=r"no parameter has the name \['attention'\]\['q'\]"):
        layout.learning(part)


@pytest.mark.parametrize(
    ("mesh", "error"),
    [
        (dict(data=9), "need 9 devices, and there are 8"),
        (dict(fsdp=16), "need 16 devices"),
    ],
)
def test_a_mesh_that_cannot_be_made(mesh, error):
    with pytest.raises(UserError, match=error):
        Layout(MeshConfig(**mesh))


def test_rows_that_cannot_be_cut(tmp_path):
    parts = make_parts(tmp_path / "run", data=8)
    small = default_config("countdown")
    small.update_from_flattened_dict(SMALL | {"learner.rows": 6, "mesh.data": 4})
    parts = assemble(settings(small), tmp_path / "run")
    with pytest.raises(UserError, match=r"learner.rows \(6\) must be a multiple of the 4"):
        parts.learner()
